#include "base/process.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>

#include "base/files.h"

using namespace lorry;

TEST_CASE("a child's end is told apart: status or signal") {
  auto child = ChildProcess::Start({.argv = {"sh", "-c", "exit 7"}});
  REQUIRE(child.ok());
  const auto end = child->Wait();
  CHECK(end->exit_status == 7);
  CHECK(end->signal == 0);
  auto killed = ChildProcess::Start({.argv = {"sleep", "60"}});
  REQUIRE(killed.ok());
  CHECK_FALSE(killed->Wait(Millis(1)).has_value());
  killed->Signal(SIGKILL);
  CHECK(killed->Wait()->signal == SIGKILL);
}

TEST_CASE("environment, folder and output files") {
  TempDirectory dir;
  auto child = ChildProcess::Start({.argv = {"sh", "-c", "echo $GREETING; pwd; echo bad >&2"},
                                    .env = {{"GREETING", "hi"}},
                                    .cwd = dir.path(),
                                    .stdout_path = dir.path() + "/out",
                                    .stderr_path = dir.path() + "/out"});
  REQUIRE(child.ok());
  CHECK(child->Wait()->exit_status == 0);
  CHECK(*ReadFile(dir.path() + "/out") == "hi\n" + dir.path() + "\nbad\n");
}

TEST_CASE("a program that cannot start is an error, not a child") {
  CHECK(ChildProcess::Start({.argv = {"/no/such/program"}}).error().code == ErrorCode::kNotFound);
  TempDirectory dir;
  REQUIRE(WriteFileAtomically(dir.path() + "/text", "not a program\n").ok());
  CHECK(ChildProcess::Start({.argv = {dir.path() + "/text"}}).error().code == ErrorCode::kNotAllowed);
  std::filesystem::permissions(dir.path() + "/text", std::filesystem::perms::all);
  CHECK(ChildProcess::Start({.argv = {dir.path() + "/text"}}).error().code == ErrorCode::kNotAllowed);
  for (const SpawnOptions& options : {SpawnOptions{.argv = {"true"}, .cwd = "/no/such/folder"},
                                      SpawnOptions{.argv = {"true"}, .stdout_path = "/no/such/folder"}}) {
    const Error error = ChildProcess::Start(options).error();
    CHECK(error.code == ErrorCode::kStorage);
    CHECK(error.message.find(" /no/such/folder: ") != std::string::npos);
  }
  CHECK_FALSE(ChildProcess::Start({}).ok());
}

TEST_CASE("a machine that has no descriptor to spare is no matter of storage") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto child = ChildProcess::Start({.argv = {"true"}});
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE_FALSE(child.ok());
  CHECK(child.error().code == ErrorCode::kBudget);
}

TEST_CASE("a signal reaches the whole group, and the group dies with its owner") {
  TempDirectory dir;
  pid_t grandchild = 0;
  {
    auto child =
        ChildProcess::Start({.argv = {"sh", "-c", "sleep 60 & echo $! > pid.tmp; mv pid.tmp pid; wait"}, .cwd = dir.path()});
    REQUIRE(child.ok());
    while (!FileExists(dir.path() + "/pid")) REQUIRE_FALSE(child->Wait(Millis(5)).has_value());
    grandchild = std::stoi(*ReadFile(dir.path() + "/pid"));
    CHECK(ProcessStartTicks(grandchild).has_value());
  }
  for (int i = 0; i < 1000 && ProcessStartTicks(grandchild); ++i) {
    const auto stat = ReadFile("/proc/" + std::to_string(grandchild) + "/stat");
    if (stat.ok() && stat->find(") Z") != std::string::npos) break;  // dead, only not yet reaped by init
    (void)ChildProcess::Start({.argv = {"true"}})->Wait();
  }
  const auto stat = ReadFile("/proc/" + std::to_string(grandchild) + "/stat");
  CHECK((!stat.ok() || stat->find(") Z") != std::string::npos));
}
