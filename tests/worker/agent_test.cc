// The worker as a program, against a scheduler's port: real processes, real signals, a real clock.
#include <csignal>
#include <filesystem>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/transport/keys.h"
#include "tests/worker/fake_scheduler.h"
#include "worker/blob_cache.h"

namespace lorry {
namespace {

using test::FakeScheduler;
using Job = FakeScheduler::Job;

std::string Lines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += "step " + std::to_string(i) + "\n";
  return lines;
}

TEST_CASE("a finetune run goes its road: inputs in, checkpoints committed, outputs as blobs, every millisecond metered") {
  const bool shared = GENERATE(true, false);
  CAPTURE(shared);
  FakeScheduler scheduler(shared);
  scheduler.StartWorker();
  Job job{.script = "steps:6 ms:20 every:2"};
  job.inputs = {scheduler.MakeInput("base_model", {{"config.json", "{\"a\":1}"}, {"sub/weights", std::string(300'000, 'w')}}),
                scheduler.MakeInput("train", {{"train.jsonl", "{}\n"}})};
  scheduler.Grant(job);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CAPTURE(end->error.message);
  REQUIRE(end->reason == EndReason::kDone);
  CHECK(scheduler.ReadOutput(*end, "adapter", "adapter.txt") == Lines(6));
  CHECK(scheduler.ReadOutput(*end, "adapter", "more/base.txt") == "{\"a\":1}");
  CHECK(end->facts_json == "{\"program\":\"fake_rank\"}");
  const auto& seen = scheduler.seen("r-1");
  REQUIRE(seen.checkpoints.size() == 3);
  CHECK(seen.checkpoints[2].step == 6);
  CHECK(seen.checkpoints[2].path == "checkpoints/step-6");
  CHECK(seen.checkpoints[2].digest == Sha256Of(Lines(6)));
  CHECK(seen.checkpoints[2].files.size() == (shared ? 0 : 1));

  const test::Metering metered = test::Sum(seen.spans);
  CHECK(metered.unbroken);
  REQUIRE(metered.device_ms.size() == 2);
  CHECK(metered.device_ms.at("w/cpu-0") == metered.device_ms.at("w/cpu-1"));
  CHECK(metered.class_ms.at(UsageClass::kProductive) >= 6 * 20);  // of 240 on two devices; a busy machine reads a phase line late
  CHECK(metered.class_ms.contains(UsageClass::kStartup));
  if (!shared) CHECK(scheduler.WaitUntil([&] { return seen.log.find("fake rank 0 of 1") != std::string::npos; }));
  CHECK(scheduler.EndWorker().exit_status == 0);
}

TEST_CASE("an attempt that fails ends with the reason that is its own") {
  // what the rank does | reason | part of the text
  const std::vector<std::tuple<const char*, EndReason, const char*>> cases = {
      {"segv", EndReason::kRankCrash, "SIGSEGV"},      {"abort", EndReason::kRankCrash, "SIGABRT"},
      {"kill", EndReason::kRankLost, "SIGKILL"},       {"exit7", EndReason::kRankCrash, "exit status 7"},
      {"oom", EndReason::kOutOfMemory, "7 GB"},        {"storage", EndReason::kStorage, "could not write"},
      {"data", EndReason::kDataError, "without text"}, {"garbage", EndReason::kRankCrash, "exit status 1"},
  };
  FakeScheduler scheduler;
  scheduler.StartWorker();
  int run = 0;
  for (const auto& [deed, reason, text] : cases) {
    CAPTURE(deed);
    Job job{.run = "r-" + std::to_string(++run), .script = std::string("steps:3 ms:1 at:1 do:") + deed};
    scheduler.Grant(job);
    const wire::Finished* end = scheduler.WaitForEnd(job.run);
    REQUIRE(end != nullptr);
    CHECK(EndReasonName(end->reason) == EndReasonName(reason));
    CAPTURE(end->error.message);
    CHECK(end->error.message.find(text) != std::string::npos);
    CHECK(end->outputs.empty());
    if (reason == EndReason::kDataError) {
      CHECK(end->error.file == "train.jsonl");
      CHECK(end->error.line == 12);
      CHECK(end->error.key == "text");
    }
  }
}

TEST_CASE("ranks under mpirun live and die together") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  Job job{.script = "steps:3 ms:5", .resources = R"({"cpus":2,"ranks":2})"};
  scheduler.Grant(job);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CAPTURE(end->error.message);
  CHECK(end->reason == EndReason::kDone);
  CHECK(FileExists(scheduler.home() + "/runs/r-1/attempts/1/rank-1.log"));

  Job broken{.run = "r-2", .script = "steps:1000 ms:5 at:3 do:segv rank:1", .resources = R"({"cpus":2,"ranks":2})"};
  scheduler.Grant(broken);
  const wire::Finished* crash = scheduler.WaitForEnd("r-2");
  REQUIRE(crash != nullptr);
  CHECK(EndReasonName(crash->reason) == "rank_crash");
  CHECK(test::ProcessesWith(scheduler.home() + "/runs/r-2").empty());
}

TEST_CASE("a stop lets the rank checkpoint, a deaf rank is ended after the grace, a stop now at once") {
  const bool shared = GENERATE(true, false);
  CAPTURE(shared);
  FakeScheduler scheduler(shared);
  scheduler.StartWorker();
  Job polite{.run = "r-1", .script = "steps:100000 ms:200"};  // the stop comes within a step: what is left of it is drain
  scheduler.Grant(polite);
  REQUIRE(scheduler.WaitUntil([&] { return test::Sum(scheduler.seen("r-1").spans).class_ms.contains(UsageClass::kProductive); }));
  scheduler.Stop(polite, wire::StopMode::kCheckpoint, EndReason::kCancelled, 20'000);
  const wire::Finished* stopped = scheduler.WaitForEnd("r-1");
  REQUIRE(stopped != nullptr);
  CHECK(stopped->reason == EndReason::kCancelled);
  CHECK(scheduler.seen("r-1").checkpoints.size() == 1);
  CHECK(test::Sum(scheduler.seen("r-1").spans).class_ms.contains(UsageClass::kDrain));

  for (const bool now : {false, true}) {
    Job deaf{.run = now ? "r-3" : "r-2", .script = "steps:100000 ms:5 deaf:1"};
    scheduler.Grant(deaf);
    REQUIRE(scheduler.WaitUntil(
        [&] { return test::Sum(scheduler.seen(deaf.run).spans).class_ms.contains(UsageClass::kProductive); }));
    scheduler.Stop(deaf, now ? wire::StopMode::kNow : wire::StopMode::kCheckpoint, EndReason::kWalltime, now ? 0 : 200);
    const wire::Finished* ended = scheduler.WaitForEnd(deaf.run);
    REQUIRE(ended != nullptr);
    CHECK(ended->reason == EndReason::kWalltime);
  }
}

TEST_CASE("a killed worker takes its ranks along, and the next attempt goes on from the checkpoint to the same bytes") {
  const std::string resources = GENERATE(R"({"cpus":2})", R"({"cpus":2,"ranks":2})");
  CAPTURE(resources);
  FakeScheduler scheduler;
  scheduler.StartWorker();
  Job job{.script = "steps:60 ms:30 every:5", .resources = resources};
  scheduler.Grant(job);
  REQUIRE(scheduler.WaitUntil([&] { return scheduler.seen("r-1").checkpoints.size() >= 2; }));
  scheduler.KillWorker();
  scheduler.StartWorker();
  CHECK(scheduler.hellos().back().holds.empty());
  CHECK(scheduler.hellos().back().incarnation != scheduler.hellos().front().incarnation);
  CHECK(test::ProcessesWith(scheduler.home() + "/runs/r-1").empty());
  job.attempt = 2;
  scheduler.Grant(job);
  const wire::Finished* end = scheduler.WaitForEnd("r-1", 2);
  REQUIRE(end != nullptr);
  CHECK(end->reason == EndReason::kDone);
  CHECK(scheduler.ReadOutput(*end, "adapter", "adapter.txt") == Lines(60));
  const auto task = ReadFile(scheduler.home() + "/runs/r-1/attempts/2/task.json");
  CHECK(nlohmann::json::parse(*task)["resume_from"].get<std::string>().starts_with("checkpoints/step-"));
}

TEST_CASE("a scheduler's restart leaves ranks running, and an end that was not acknowledged is said again") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  Job job{.script = "steps:20 ms:10 until:go"};
  scheduler.Grant(job);
  REQUIRE(scheduler.WaitUntil([&] { return test::Sum(scheduler.seen("r-1").spans).class_ms.contains(UsageClass::kProductive); }));
  const size_t hellos = scheduler.hellos().size();
  scheduler.Restart();
  REQUIRE(scheduler.WaitForHello(hellos + 1));
  REQUIRE(scheduler.hellos().back().holds.size() == 1);
  CHECK(scheduler.hellos().back().holds[0].run == RunId("r-1"));
  CHECK(scheduler.hellos().back().incarnation == scheduler.hellos().front().incarnation);
  scheduler.lose_finished_acks = 1;
  REQUIRE(WriteFileAtomically(scheduler.home() + "/runs/r-1/go", "").ok());
  REQUIRE(scheduler.WaitForEnd("r-1") != nullptr);
  CHECK(scheduler.seen("r-1").finished[0].reason == EndReason::kDone);
  scheduler.Restart();
  REQUIRE(scheduler.WaitUntil([&] { return scheduler.seen("r-1").finished.size() == 2; }));
  CHECK(scheduler.seen("r-1").finished[1].outputs.size() == scheduler.seen("r-1").finished[0].outputs.size());
  CHECK(test::Sum(scheduler.seen("r-1").spans).unbroken);
}

TEST_CASE("answers to what was on the way before a hello do not make the worker say it again and again") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  Job job{.script = "steps:200 ms:5"};
  scheduler.Grant(job);
  REQUIRE(scheduler.WaitUntil([&] { return test::Sum(scheduler.seen("r-1").spans).class_ms.contains(UsageClass::kProductive); }));
  for (int restart = 0; restart < 3; ++restart) {
    const size_t hellos = scheduler.hellos().size();
    scheduler.Restart();
    REQUIRE(scheduler.WaitForHello(hellos + 1));
    scheduler.SayWhoAreYou(50);  // of the session that is over
  }
  REQUIRE(scheduler.WaitForEnd("r-1") != nullptr);
  CHECK(scheduler.hellos().size() <
        12);  // four, and one more where a second goes by without a welcome; not one for each of the 150
}

TEST_CASE("a batch is fed by leases, each row is committed once, and a killed worker loses no committed row") {
  FakeScheduler scheduler;
  scheduler.rows_of_run = 60;
  scheduler.lose_row_commits = 2;
  scheduler.StartWorker();
  Job job{.kind = "batch", .script = "steps:60 ms:20", .resources = R"({"cpus":2,"ranks":2})"};
  scheduler.Grant(job);
  REQUIRE(scheduler.WaitUntil([&] { return scheduler.rows.size() >= 20; }));
  scheduler.KillWorker();
  scheduler.StartWorker();
  job.attempt = 2;
  scheduler.Grant(job);
  const wire::Finished* end = scheduler.WaitForEnd("r-1", 2);
  REQUIRE(end != nullptr);
  CAPTURE(end->error.message);
  REQUIRE(end->reason == EndReason::kDone);
  std::string expected;
  for (int row = 0; row < 60; ++row) expected += "{\"row\":" + std::to_string(row) + "}\n";
  for (const auto& [index, row] : scheduler.rows) {
    const auto shard = ReadFile(scheduler.home() + "/runs/r-1/" + row.shard);
    CHECK(Sha256Of(shard->substr(row.offset, row.length)) == row.digest);
  }
  const auto task = nlohmann::json::parse(*ReadFile(scheduler.home() + "/runs/r-1/attempts/2/task.json"));
  size_t earlier = 0;
  for (const auto& shard : task["shards"]) earlier += shard["rows"].size();
  CHECK(earlier >= 20);
  CHECK(earlier < 60);
}

TEST_CASE("a batch tells its rows a minute while it runs") {
  FakeScheduler scheduler;
  scheduler.rows_of_run = 8;
  scheduler.StartWorker();
  scheduler.Grant({.kind = "batch", .script = "steps:8 ms:200", .resources = R"({"cpus":2,"ranks":1})"});
  CHECK(scheduler.WaitUntil([&] { return scheduler.seen("r-1").metrics.find(R"("rows_per_minute":)") != std::string::npos; }));
  CHECK(scheduler.seen("r-1").finished.empty());
  CHECK(scheduler.WaitForEnd("r-1") != nullptr);
}

TEST_CASE("the last steps are told before the end, however short the run") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  scheduler.Grant({.script = "steps:8 ms:1"});
  REQUIRE(scheduler.WaitForEnd("r-1") != nullptr);
  CHECK(scheduler.seen("r-1").metrics.find(R"("step":8,)") != std::string::npos);
}

TEST_CASE("the elements of an array each start and end once, with their own status") {
  FakeScheduler scheduler;
  scheduler.elements_of_run = 200;
  scheduler.StartWorker("cpu:4");
  Job job{.kind = "command", .resources = R"({"cpus":1})", .devices = 4, .array = 200};
  job.argv = {"/bin/sh", "-c", "echo element $LORRY_ELEMENT; test $LORRY_ELEMENT -ne 7"};
  scheduler.Grant(job);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CHECK(end->reason == EndReason::kUserError);
  CHECK(end->error.message == "1 elements failed; the first was element 7, with exit status 1");
  REQUIRE(scheduler.element_ends.size() == 200);
  for (const auto& [element, statuses] : scheduler.element_ends) CHECK(statuses == std::vector<int32_t>{element == 7 ? 1 : 0});
  const auto log = ReadFile(scheduler.home() + "/runs/r-1/attempts/1/rank-0.log");
  CHECK(std::count(log->begin(), log->end(), '\n') == 200);
}

TEST_CASE("a command that is told to end has ended for the stop's reason, whatever status it makes of that") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  Job job{.kind = "command", .resources = R"({"cpus":1})", .devices = 1};
  job.argv = {"/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"};
  scheduler.Grant(job);
  const std::string log = scheduler.home() + "/runs/r-1/attempts/1/rank-0.log";
  REQUIRE(scheduler.WaitUntil([&] { return FileExists(log) && *ReadFile(log) == "ready\n"; }));
  scheduler.Stop(job, wire::StopMode::kCheckpoint, EndReason::kCancelled, 20'000);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CHECK(EndReasonName(end->reason) == "cancelled");
}

TEST_CASE("an element that is asked to end has not been, whatever status it makes of that") {
  const std::string status = GENERATE("0", "1");
  CAPTURE(status);
  FakeScheduler scheduler;
  scheduler.elements_of_run = 2;
  scheduler.StartWorker("cpu:2");
  Job job{.kind = "command", .resources = R"({"cpus":1})", .devices = 2, .array = 2};
  job.argv = {"/bin/sh", "-c", "trap 'exit " + status + "' TERM; while :; do sleep 0.05; done"};
  scheduler.Grant(job);
  REQUIRE(scheduler.WaitUntil([&] { return scheduler.element_starts.size() == 2; }));
  scheduler.Stop(job, wire::StopMode::kCheckpoint, EndReason::kPreempted, 20'000);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CHECK(end->reason == EndReason::kPreempted);
  CHECK(scheduler.element_ends.empty());
}

TEST_CASE("no-ops are reported in bundles, and a worker killed among elements leaves none behind and none twice") {
  FakeScheduler scheduler;
  scheduler.elements_of_run = 20'000;
  scheduler.StartWorker("cpu:1");
  Job job{.kind = "command", .resources = R"({"cpus":1})", .devices = 1, .argv = {":"}, .array = 20'000};
  scheduler.Grant(job);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CHECK(end->reason == EndReason::kDone);
  CHECK(scheduler.element_ends.size() == 20'000);
  for (const auto& [element, statuses] : scheduler.element_ends) REQUIRE(statuses.size() == 1);

  scheduler.element_ends.clear();
  scheduler.elements_of_run = 60;
  Job sleeping{
      .run = "r-2", .kind = "command", .resources = R"({"cpus":1})", .devices = 1, .argv = {"/bin/sleep", "0.05"}, .array = 60};
  scheduler.Grant(sleeping);
  REQUIRE(scheduler.WaitUntil([&] { return scheduler.element_ends.size() >= 5; }));
  scheduler.KillWorker();
  scheduler.StartWorker("cpu:1");
  sleeping.attempt = 2;
  scheduler.Grant(sleeping);
  const wire::Finished* second = scheduler.WaitForEnd("r-2", 2);
  REQUIRE(second != nullptr);
  CHECK(second->reason == EndReason::kDone);
  CHECK(scheduler.element_ends.size() == 60);
  for (const auto& [element, statuses] : scheduler.element_ends) REQUIRE(statuses.size() == 1);
}

TEST_CASE("a single command ends as it ends") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  // argv | reason | part of the text
  const std::vector<std::tuple<std::vector<std::string>, EndReason, const char*>> cases = {
      {{"/bin/true"}, EndReason::kDone, ""},
      {{"/bin/sh", "-c", "exit 3"}, EndReason::kUserError, "exit status 3"},
      {{"/bin/sh", "-c", "kill -SEGV $$"}, EndReason::kRankCrash, "SIGSEGV"},
      {{"/bin/sh", "-c", "kill -TERM $$"}, EndReason::kRankLost, "SIGTERM"},
      {{"/no/such/program"}, EndReason::kUserError, "/no/such/program"},
  };
  int run = 0;
  for (const auto& [argv, reason, text] : cases) {
    Job job{.run = "r-" + std::to_string(++run), .kind = "command", .resources = R"({"cpus":1})", .devices = 1, .argv = argv};
    scheduler.Grant(job);
    const wire::Finished* end = scheduler.WaitForEnd(job.run);
    REQUIRE(end != nullptr);
    CHECK(EndReasonName(end->reason) == EndReasonName(reason));
    CHECK(end->error.message.find(text) != std::string::npos);
  }
}

TEST_CASE("a worker that is asked to end lets its ranks checkpoint first") {
  const bool shared = GENERATE(true, false);
  CAPTURE(shared);
  FakeScheduler scheduler(shared);
  scheduler.StartWorker();
  scheduler.Grant({.script = "steps:100000 ms:5"});
  REQUIRE(scheduler.WaitUntil([&] { return test::Sum(scheduler.seen("r-1").spans).class_ms.contains(UsageClass::kProductive); }));
  CHECK(scheduler.EndWorker().exit_status == 0);
  REQUIRE(scheduler.seen("r-1").finished.size() == 1);
  CHECK(scheduler.seen("r-1").finished[0].reason == EndReason::kPreempted);
  CHECK(scheduler.seen("r-1").worker_left);
  CHECK(scheduler.seen("r-1").checkpoints.size() == 1);
}

TEST_CASE("the whole of a log reaches a scheduler with a home of its own, also what was written last") {
  FakeScheduler scheduler(false);
  scheduler.StartWorker();
  Job job{.kind = "command", .resources = R"({"cpus":1})", .devices = 1};
  job.argv = {"/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"};
  scheduler.Grant(job);
  REQUIRE(scheduler.WaitForEnd("r-1") != nullptr);
  CHECK(scheduler.WaitUntil([&] { return scheduler.seen("r-1").log.size() == 1'000'000; }));
}

TEST_CASE("a grant of devices that a worker which was started again no longer has is given back as no_capacity") {
  FakeScheduler scheduler;
  scheduler.StartWorker("cpu:2");
  const Job job{.script = "steps:1", .devices = 2};
  const std::vector<wire::Device> before = scheduler.hellos().back().devices;
  scheduler.KillWorker();
  scheduler.StartWorker("cpu:1");
  scheduler.Grant(job, before);
  const wire::Finished* end = scheduler.WaitForEnd("r-1");
  REQUIRE(end != nullptr);
  CHECK(EndReasonName(end->reason) == "no_capacity");
  CHECK(end->error.message == "device w/cpu-1 is not here any more");
}

TEST_CASE("a home has one worker, and a worker with a wrong key is refused") {
  FakeScheduler scheduler;
  scheduler.StartWorker();
  const std::string log = scheduler.home() + "/second.log";
  SpawnOptions second{.argv = {test::TestProgram("fake_rank_worker"), scheduler.home(), scheduler.endpoint(), "cpu:1"},
                      .stdout_path = log,
                      .stderr_path = log};
  CHECK(ChildProcess::Start(second)->Wait()->exit_status == ExitStatusOf(ErrorCode::kConflict));
  CHECK(ReadFile(log)->find("another worker runs in") != std::string::npos);

  TempDirectory stranger;
  REQUIRE(MakeHomeKeys(stranger.path()).ok());
  std::filesystem::copy_file(scheduler.home() + "/keys/scheduler.public", stranger.path() + "/keys/scheduler.public",
                             std::filesystem::copy_options::overwrite_existing);
  second.argv[1] = stranger.path();
  auto refused = ChildProcess::Start(second);
  REQUIRE(refused.ok());
  CHECK(scheduler.WaitUntil([&] { return refused->Poll().has_value(); }));
  CHECK(refused->Wait()->exit_status == ExitStatusOf(ErrorCode::kNotAllowed));
}

}  // namespace
}  // namespace lorry
