#include "base/task_contract.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "base/files.h"

using namespace lorry;
using nlohmann::json;

namespace {

TaskFile Example() {
  TaskFile task;
  task.run = RunId("r-1");
  task.attempt = AttemptNumber(2);
  task.epoch = Epoch(9);
  task.kind = "finetune";
  task.job = {{"kind", "finetune"}};
  task.attempt_dir = "/a";
  task.run_dir = "/r";
  task.cache_dir = "/c";
  task.lanes = 2;
  task.inputs = {{"train", "/t.jsonl"}};
  task.model_created = Instant(1'700'000'000'123);
  task.shards = json::array();
  return task;
}

int ListenOn(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(fd, 4) == 0);
  return fd;
}

}  // namespace

TEST_CASE("a task file reads back") {
  TempDirectory dir;
  REQUIRE(Example().Write(dir.path() + "/task.json").ok());
  const auto task = TaskFile::Read(dir.path() + "/task.json");
  REQUIRE(task.ok());
  CHECK(task->ToJson() == Example().ToJson());
}

TEST_CASE("a task file of another schema or shape is refused") {
  for (const auto& change : std::vector<std::function<void(json&)>>{
           [](json& j) { j["schema"] = 2; }, [](json& j) { j.erase("schema"); }, [](json& j) { j["run"] = 7; },
           [](json& j) { j["ranks"] = 0; }, [](json& j) { j["lanes"] = 3, j["ranks"] = 2; },
           [](json& j) {
             j["inputs"] = "x";
             j["lanes"] = "two";
           },
           [](json& j) { j = json::array(); }}) {
    json value = Example().ToJson();
    change(value);
    const auto task = TaskFile::FromJson(value);
    REQUIRE_FALSE(task.ok());
    CHECK(task.error().code == ErrorCode::kData);
  }
}

TEST_CASE("lines pass both ways, and the end of file is seen") {
  TempDirectory dir;
  const std::string path = dir.path() + "/s";
  const int listener = ListenOn(path);
  auto channel = TaskChannel::Connect(path, 1);
  REQUIRE(channel.ok());
  const int peer = ::accept(listener, nullptr, nullptr);
  char buffer[4096];
  const ssize_t got = ::recv(peer, buffer, sizeof(buffer), 0);
  const json hello = json::parse(std::string(buffer, got));
  CHECK(hello["t"] == "hello");
  CHECK(hello["rank"] == 1);
  CHECK(hello["pid"] == ::getpid());
  const std::string two = "{\"t\":\"rows\",\"epoch\":3}\nnot json\n{\"t\":\"st";
  REQUIRE(::send(peer, two.data(), two.size(), 0) > 0);
  CHECK(channel->Receive()->at("epoch") == 3);
  REQUIRE(::send(peer, "op\"}\n", 5, 0) > 0);
  CHECK(channel->Receive()->at("t") == "stop");
  ::close(peer);
  CHECK_FALSE(channel->Receive().has_value());
  channel->Send({{"t", "step"}});  // nobody hears it, nobody dies of it
  ::close(listener);
  CHECK(TaskChannel::Connect(dir.path() + "/none", 0).error().code == ErrorCode::kUnreachable);
}

TEST_CASE("errors become the exit codes of the contract") {
  CHECK(TaskExitOf(ErrorCode::kData) == TaskExit::kDataError);
  CHECK(TaskExitOf(ErrorCode::kStorage) == TaskExit::kStorage);
  CHECK(TaskExitOf(ErrorCode::kOutOfMemory) == TaskExit::kOutOfMemory);
  CHECK(std::string(EndReasonOf(TaskExit::kSpecError)) == "spec_error");
}
