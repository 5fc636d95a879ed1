// lorry-batch under a worker: rows come as leases, are reported once they are durable, and what a dead attempt left behind
// is offered under the new lease.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <set>

#include "tests/batch/batch_job.h"

namespace lorry {
namespace {

using nlohmann::json;

// The worker's end of a task's socket, for one rank.
class FakeWorker {
 public:
  explicit FakeWorker(std::string path) : path_(std::move(path)), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path_.size() < sizeof(address.sun_path));
    std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    REQUIRE(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(::listen(listener_, 1) == 0);
  }
  ~FakeWorker() {
    if (lines_ != nullptr) std::fclose(lines_);
    ::close(listener_);
    ::unlink(path_.c_str());
  }
  void Accept() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    REQUIRE(fd >= 0);
    lines_ = ::fdopen(fd, "r+");
  }
  // nullopt at the end of the connection.
  std::optional<json> Next() {
    char* line = nullptr;
    size_t room = 0;
    const ssize_t size = ::getline(&line, &room, lines_);
    const std::string text(size > 0 ? line : "", size > 0 ? static_cast<size_t>(size) : 0);
    std::free(line);
    if (size <= 0) return std::nullopt;
    return json::parse(text);
  }
  void Send(const json& line) {
    const std::string text = line.dump() + "\n";
    REQUIRE(::send(::fileno(lines_), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }

 private:
  std::string path_;
  int listener_;
  std::FILE* lines_ = nullptr;
};

// What lorryd would hold: rows to lease, and rows that are committed.
struct Books {
  std::set<int64_t> open;
  std::map<int64_t, json> committed;

  Books() {
    for (int64_t row = 0; row < BatchJob::kRows; ++row) open.insert(row);
  }
  json Lease(int64_t count, int epoch) {
    json ranges = json::array();
    for (; count > 0 && !open.empty(); --count) {
      ranges.push_back({*open.begin(), 1});
      open.erase(open.begin());
    }
    return {{"t", "rows"}, {"epoch", epoch}, {"ranges", ranges}};
  }
  // The rows that are not committed may be leased again.
  void LoseLeases() {
    for (int64_t row = 0; row < BatchJob::kRows; ++row) {
      if (!committed.contains(row)) open.insert(row);
    }
  }
  json Shards() const {
    std::map<std::string, json> rows;
    for (const auto& [index, line] : committed) {
      rows[line["shard"].get<std::string>()].push_back({index, line["state"], line["offset"], line["length"], line["sha256"],
                                                        line["prompt_tokens"], line["completion_tokens"], line["millis"]});
    }
    json shards = json::array();
    for (const auto& [shard, list] : rows) shards.push_back({{"shard", shard}, {"rows", list}});
    return shards;
  }
};

TEST_CASE_METHOD(BatchJob, "rows are leased, reported once and offered again after a kill", "[lease]") {
  REQUIRE(Attempt("whole", 1));
  Books books;
  int offered_again = 0;
  for (int attempt = 1; attempt <= 3; ++attempt) {
    FakeWorker worker(RunDir("sock") + std::to_string(attempt));
    ChildProcess child = Start("leased", attempt, 2, RunDir("sock") + std::to_string(attempt), books.Shards());
    worker.Accept();
    const size_t before = books.committed.size();
    bool asked = false;
    bool done = false;
    while (const auto line = worker.Next()) {
      const std::string type = line->value("t", "");
      INFO(line->dump());
      REQUIRE(type != "error");
      asked = asked || type == "rows_wanted";
      done = done || type == "done";
      if (type == "row") {
        CHECK((*line)["epoch"] == attempt);
        const auto index = (*line)["index"].get<int64_t>();
        const RowPlace place{RunDir("leased") + "/" + (*line)["shard"].get<std::string>(), (*line)["offset"], (*line)["length"],
                             *Digest::FromHex((*line)["sha256"].get<std::string>())};
        CHECK(ReadRowLine(place).ok());
        // Some reports of the first attempts are lost on their way.
        if (attempt == 3 || index % 3 != 0) CHECK(books.committed.emplace(index, *line).second);
        offered_again += (*line)["shard"] != "attempts/" + std::to_string(attempt) + "/" + ShardFileName(0);
        if (attempt < 3 && books.committed.size() >= before + 25) {
          child.Signal(SIGKILL);
          break;
        }
        if (books.committed.size() == kRows) worker.Send({{"t", "no_more_rows"}});
      }
      if (asked && !books.open.empty()) {
        worker.Send(books.Lease(30, attempt));
        asked = false;
      }
    }
    const auto end = child.Wait();
    if (attempt == 3) {
      CHECK(done);
      CHECK(end->exit_status == 0);
    }
    books.LoseLeases();
  }
  CHECK(offered_again > 0);
  for (const char* file : {"output.jsonl", "errors.jsonl", "report.json"}) {
    CHECK(Output("leased", 3, file) == Output("whole", 1, file));
  }
}

TEST_CASE_METHOD(BatchJob, "rows that the scheduler gave up come out as error rows", "[lease]") {
  Books books;
  books.open.erase(3);
  const json none = json::array({3, "error", 0, 0, Digest().hex(), 0, 0, 0});
  FakeWorker worker(RunDir("sock"));
  ChildProcess child = Start("given_up", 1, 2, RunDir("sock"), json::array({{{"shard", ""}, {"rows", json::array({none})}}}));
  worker.Accept();
  int reported = 0;
  while (const auto line = worker.Next()) {
    INFO(line->dump());
    const std::string type = line->value("t", "");
    REQUIRE(type != "error");
    if (type == "rows_wanted" && !books.open.empty()) worker.Send(books.Lease(kRows, 1));
    if (type == "row" && ++reported == kRows - 1) worker.Send({{"t", "no_more_rows"}});
  }
  CHECK(child.Wait()->exit_status == 0);
  const std::string errors = Output("given_up", 1, "errors.jsonl");
  CHECK(json::parse(errors.substr(0, errors.find('\n')))["id"] == "row-3");
  CHECK(errors.find("given_up") < errors.find('\n'));
  CHECK(Output("given_up", 1, "output.jsonl").find("\"row-3\"") == std::string::npos);
}

TEST_CASE_METHOD(BatchJob, "a rank ends with its worker and when it is told to stop", "[lease]") {
  for (const bool told : {true, false}) {
    const std::string socket = RunDir(told ? "told" : "gone");
    auto worker = std::make_unique<FakeWorker>(socket);
    ChildProcess child = Start(told ? "stop" : "lost", 1, 1, socket);
    worker->Accept();
    while (const auto line = worker->Next()) {
      if (line->value("t", "") == "rows_wanted") break;
    }
    if (told) {
      worker->Send({{"t", "stop"}, {"mode", "checkpoint"}});
    } else {
      worker.reset();
    }
    const auto end = child.Wait(Millis(60000));
    REQUIRE(end);
    CHECK(end->signal == 0);
    CHECK(end->exit_status == static_cast<int>(told ? TaskExit::kStopped : TaskExit::kInternal));
  }
}

}  // namespace
}  // namespace lorry
