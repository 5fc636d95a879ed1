// The command line over a real lorryd in a temporary home.
#include <catch2/catch.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "cli/model_source.h"
#include "model/format/model_directory.h"
#include "scheduler/scheduler.h"
#include "tests/cli/lorry_call.h"
#include "tests/registry/registry_fixture.h"
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
  // Another home on another machine, as its user sees it: a pair of keys and the scheduler's address.
  Session Remote(const std::string& home, Terminal& terminal) {
    std::filesystem::copy(path() + "/keys", home + "/keys", std::filesystem::copy_options::recursive);
    return Session({.json = true, .home = home, .address = daemon_->scheduler().client_endpoint()}, terminal);
  }
  // A tiny model as a version of the name; its files.
  json Push(const std::string& name, int seed) {
    const TempDirectory store;
    RegistryFixture made(store.path());
    json question = {{"kind", "model"}, {"name", name}, {"files", json::array()}};
    for (const BlobEntry& file : made.ModelFiles(seed)) {
      const std::string bytes = *made.blobs().ReadBytes(file.digest, 1 << 20);
      REQUIRE(daemon_->scheduler().Call<wire::BlobStored>(wire::PutBlob{file.digest, file.size, 0, bytes}).ok());
      question["files"].push_back({{"path", file.path}, {"digest", file.digest.hex()}, {"size", file.size}});
    }
    REQUIRE(daemon_->scheduler().Call<wire::JsonReply>(wire::Query{"registry.import", question.dump(), ""}).ok());
    return question["files"];
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

TEST_CASE("who pushed a version from where and who moved an alias is shown") {
  Home home;
  home.Push("acme/m", 1);
  home.Do({"model", "alias", "acme/m@v1", "prod", "--reason", "first"});
  const json shown = home.Do({"model", "show", "acme/m"});
  CHECK(shown["alias_log"][0]["by"].get<std::string>().find('@') != std::string::npos);
  CHECK(shown["alias_log"][0]["reason"] == "first");
  CHECK(shown["versions"][0].contains("source"));
  CHECK(home.Call({"adapter", "rm", "acme/m@v1"}).status == 5);
  CHECK(home.Do({"model", "visibility", "acme/m", "private"})["previous"] == false);
}

TEST_CASE("of a remote model the checks of a job fetch headers and small files, and keep nothing") {
  Home home;
  const TempDirectory other;
  const json files = home.Push("acme/m", 1);
  Terminal terminal(true);
  Session session = home.Remote(other.path(), terminal);
  const Result<LocalModel> headers = FindModel(session, "acme/m", ModelPart::kHeaders);
  if (!headers.ok()) FAIL(headers.error().Format());
  const Result<ModelDirectory> model = ModelDirectory::Open(headers->path);
  if (!model.ok()) FAIL(model.error().Format());
  CHECK(model->WeightBytes() > 0);
  const TensorView weights = *model->Get("model.embed_tokens.weight");
  CHECK(std::all_of(weights.bytes.begin(), weights.bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
  CHECK_FALSE(FileExists(other.path() + "/cache"));
  const Result<LocalModel> whole = FindModel(session, "acme/m");
  REQUIRE(whole.ok());
  const Result<std::string> there = ReadFile(whole->path + "/model.safetensors");
  CHECK(Sha256Of(*there).hex() == files[1]["digest"]);
}

}  // namespace
}  // namespace lorry
