// The command line over a real lorryd in a temporary home.
#include <catch2/catch.hpp>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "scheduler/scheduler.h"
#include "tests/cli/lorry_call.h"
#include "web/daemon.h"

namespace lorry {
namespace {

using nlohmann::json;

class Home {
 public:
  Home() {
    DaemonOptions options;
    options.home = folder_.path();
    options.http_port = options.client_port = options.worker_port = 0;
    auto started = Daemon::Start(options);
    if (!started.ok()) FAIL(started.error().Format());
    daemon_ = std::move(*started);
  }
  const std::string& path() const { return folder_.path(); }
  Outcome Call(std::vector<std::string> words) {
    words.insert(words.end(), {"--address", daemon_->scheduler().client_endpoint(), "--json"});
    return Lorry(std::move(words), path());
  }
  json Do(std::vector<std::string> words) {
    const Outcome outcome = Call(std::move(words));
    INFO(outcome.err);
    REQUIRE(outcome.status == 0);
    return json::parse(outcome.out);
  }

 private:
  TempDirectory folder_;
  std::unique_ptr<Daemon> daemon_;
};

TEST_CASE("a token's text is shown, and stands nowhere in the state, which is its owner's alone") {
  Home home;
  const json made = home.Do({"token", "create", "--role", "serving", "--note", "rack 3"});
  const std::string token = made["token"];
  CHECK(token.size() > 40);
  CHECK(home.Do({"token", "list"})["tokens"][0]["id"] == made["id"]);
  for (const char* name : {"/state.db", "/state.db-wal", "/state.db-shm"}) {
    CAPTURE(name);
    const Result<std::string> bytes = ReadFile(home.path() + name);
    REQUIRE(bytes.ok());
    CHECK(bytes->find(token) == std::string::npos);
    struct stat status {};
    REQUIRE(stat((home.path() + name).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }
}

}  // namespace
}  // namespace lorry
