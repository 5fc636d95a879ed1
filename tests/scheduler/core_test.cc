#include "scheduler/core.h"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>

#include "scheduler/client_desk.h"
#include "scheduler/placement.h"
#include "tests/scheduler/scheduler_story.h"

namespace lorry {
namespace {

TEST_CASE("a run goes from submission to its end") {
  Story story;
  story.Submit(RunBuilder("r-1").Cpus(2));
  CHECK(story.StateOf("r-1") == "queued");
  const Actions granted = story.Hello("n1", 2);
  REQUIRE(Said<wire::Grant>(granted).size() == 1);
  CHECK(Said<wire::Grant>(granted)[0].devices.size() == 2);
  CHECK(story.PlaceOf("r-1") == "n1:2");
  story.Finish("r-1", EndReason::kDone);
  CHECK(story.StateOf("r-1") == "succeeded/done");
}

TEST_CASE("a run that goes on shows the newest line of its metrics") {
  Story story;
  story.Submit(RunBuilder("r-1"));
  story.Hello("n1", 1);
  const auto say = [&](std::string lines) {
    const Attempt& attempt = story.attempt("r-1");
    story.Step(story.core.OnProgress(attempt.worker, {attempt.ref, "productive", 2, 60, std::move(lines)}, story.now));
    return Summarize(story.core.state(), story.run("r-1"), story.now).live_json;
  };
  CHECK(say("").empty());
  CHECK(say("{\"step\":1}\n{\"step\":2}\n") == "{\"step\":2}");
  CHECK(say("") == "{\"step\":2}");
  CHECK(say(std::string(100'000, 'x') + "\n") == "{\"step\":2}");
}

TEST_CASE("placement") {
  struct Row {
    const char* what;
    uint32_t cpus, gpus;
    std::vector<std::pair<int, int>> nodes;
    const char* placed;
  };
  const std::vector<Row> rows = {
      // what                        cpus gpus  per node {cpus, gpus}     placed
      {"the tightest worker", 2, 0, {{4, 0}, {2, 0}}, "n2:2"},
      {"ties go to the lower name", 1, 0, {{2, 0}, {2, 0}}, "n1:1"},
      {"no worker is large enough", 3, 0, {{2, 0}, {2, 0}}, "queued"},
      {"GPUs are not CPU slots", 0, 2, {{8, 1}, {0, 2}}, "n2:2"},
  };
  for (const Row& row : rows) {
    Story story;
    for (size_t i = 0; i < row.nodes.size(); ++i) {
      story.Hello("n" + std::to_string(i + 1), row.nodes[i].first, row.nodes[i].second);
    }
    RunBuilder run("r-1");
    if (row.gpus > 0) {
      run.Gpus(row.gpus);
    } else {
      run.Cpus(row.cpus);
    }
    story.Submit(run);
    INFO(row.what);
    CHECK(story.PlaceOf("r-1") == row.placed);
  }
}

TEST_CASE("a GPU's kind may be named by its first words") {
  // asked | the worker's | placed
  const std::vector<std::array<const char*, 3>> rows = {{"H100", "H100-80GB-HBM3", "n1:1"},
                                                        {"H100-80GB-HBM3", "H100-80GB-HBM3", "n1:1"},
                                                        {"H100-80GB-HBM3", "H100-PCIe", "queued"},
                                                        {"H10", "H100-PCIe", "queued"}};
  for (const auto& [asked, kind, placed] : rows) {
    CAPTURE(asked, kind);
    Story story;
    story.Step(
        story.core.OnHello({WorkerId("n1"), "1", "test", "n1", "", {{DeviceId("gpu-1"), kind, true, 1, "", ""}}, {}}, story.now));
    story.Submit(RunBuilder("r-1").Gpus(1, asked));
    CHECK(story.PlaceOf("r-1") == placed);
  }
}

TEST_CASE("higher priority first, and a large run is not starved by small ones behind it") {
  Story story;
  story.Hello("n1", 2);
  story.Submit(RunBuilder("r-small").Cpus(1));
  story.Submit(RunBuilder("r-large").Cpus(2));
  story.Submit(RunBuilder("r-late").Cpus(1));
  CHECK(story.PlaceOf("r-late") == "queued");
  story.Submit(RunBuilder("r-urgent").Cpus(1).Priority(90));
  CHECK(story.PlaceOf("r-urgent") == "n1:1");
  story.Finish("r-small", EndReason::kDone);
  CHECK(story.PlaceOf("r-large") == "queued");
  story.Finish("r-urgent", EndReason::kDone);
  CHECK(story.PlaceOf("r-large") == "n1:2");
  CHECK(story.PlaceOf("r-late") == "queued");
}

// A step must not look at the whole queue: with 20,000 runs in it, 500 steps that did would take half a minute.
TEST_CASE("a long queue for CPU slots costs a submission and an end no more than a short one") {
  Story story;
  story.Hello("n1", 1);
  for (int i = 0; i < 20'000; ++i) story.core.OnSubmit(RunBuilder("r-" + std::to_string(i)).Build(), story.now);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 500; ++i) {
    story.core.OnFinished(WorkerId("n1"), 1, {story.attempt("r-" + std::to_string(i)).ref, EndReason::kDone, {}, {}, 0, {}, ""},
                          story.now);
    story.core.OnPublished(RunId("r-" + std::to_string(i)), std::string("{}"), story.now);
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
  CHECK(story.PlaceOf("r-500") == "n1:1");
}

TEST_CASE("what an attempt's end leads to") {
  struct Row {
    EndReason reason;
    const char* then;
  };
  const std::vector<Row> rows = {
      {EndReason::kDone, "succeeded/done"},
      {EndReason::kNodeLost, "n1:1"},
      {EndReason::kRankLost, "n1:1"},
      {EndReason::kPreempted, "n1:1"},
      {EndReason::kRankCrash, "n1:1"},
      {EndReason::kStorage, "queued"},
      {EndReason::kUserError, "failed/user_error"},
      {EndReason::kOutOfMemory, "failed/out_of_memory"},
      {EndReason::kDataError, "failed/data_error"},
      {EndReason::kSpecError, "failed/spec_error"},
      {EndReason::kInternal, "failed/internal"},
      {EndReason::kWalltime, "failed/walltime"},
      {EndReason::kExpired, "expired/expired"},
      {EndReason::kCancelled, "cancelled/cancelled"},
  };
  for (const Row& row : rows) {
    Story story;
    story.Hello("n1", 1);
    story.Submit(RunBuilder("r-1"));
    story.Finish("r-1", row.reason);
    CAPTURE(EndReasonName(row.reason));
    CHECK(story.PlaceOf("r-1") == row.then);
  }
}

TEST_CASE("crashes count, losses do not, and fruitless tries wait longer and longer") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1").MaxAttempts(3));
  for (int i = 0; i < 20; ++i) {
    story.Finish("r-1", EndReason::kRankLost);
    story.Advance(Millis(61000), {"n1"});
    REQUIRE(story.PlaceOf("r-1") == "n1:1");
  }
  for (int i = 0; i < 2; ++i) {
    story.Finish("r-1", EndReason::kRankCrash);
    story.Advance(Millis(61000), {"n1"});
  }
  REQUIRE(story.PlaceOf("r-1") == "n1:1");
  story.Finish("r-1", EndReason::kRankCrash);
  CHECK(story.StateOf("r-1") == "failed/rank_crash");
}

TEST_CASE("unreachable is not lost; when the lease runs out the run goes elsewhere and the time is on the books as drain") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Meter("r-1", UsageClass::kStartup, story.now, story.now + Millis(500));
  story.Checkpoint("r-1", 20);
  const wire::AttemptRef old = story.attempt("r-1").ref;
  story.Hello("n2", 1);
  story.Advance(Millis(10000), {"n2"});
  CHECK(story.PlaceOf("r-1") == "n1:1");
  CHECK(story.core.state().workers.at(WorkerId("n1")).health == Health::kUnreachable);
  story.Advance(Millis(10000), {"n2"});
  CHECK(story.PlaceOf("r-1") == "n2:1");
  CHECK(story.attempt("r-1").ref.epoch > old.epoch);
  CHECK(story.booked["startup"] == 500);
  CHECK(story.booked["drain"] == 19500);

  // What the first worker still says about it leaves no trace.
  story.Step(story.core.OnCheckpoint(WorkerId("n1"), 1, {old, {40, "checkpoints/step-40", Sha256Of("40"), {}}}, story.now));
  CHECK(story.run("r-1").checkpoints.front().step == 20);
  const Actions late =
      story.Step(story.core.OnFinished(WorkerId("n1"), 7, {old, EndReason::kDone, {}, {}, 0, {}, ""}, story.now));
  REQUIRE(Said<wire::FinishedAck>(late).size() == 1);
  CHECK_FALSE(Said<wire::FinishedAck>(late)[0].accepted);
  CHECK(story.PlaceOf("r-1") == "n2:1");
  const Actions hello = story.Hello("n1", 1, 0, "1", {old});
  CHECK(hello.stop == std::vector<wire::AttemptRef>{old});
}

TEST_CASE("a wall clock that is set ends no lease and prolongs none, and no run's time is up by it") {
  const Millis hour(3600 * 1000);
  for (const bool forward : {true, false}) {
    CAPTURE(forward);
    Story story;
    story.Hello("n1", 1);
    story.Submit(RunBuilder("r-1").MaxDuration(Millis(60000)));
    story.now.utc = forward ? story.now.utc + hour : story.now.utc - hour;
    story.Advance(Millis(1000));
    CHECK(story.core.state().workers.at(WorkerId("n1")).health == Health::kHealthy);
    CHECK_FALSE(story.attempt("r-1").stopping);
    story.Advance(Millis(19000));
    CHECK(story.core.state().workers.at(WorkerId("n1")).health == Health::kLost);
    CHECK(story.StateOf("r-1") == "queued");
  }
}

TEST_CASE("a worker that was started again has ended what it held: the run goes on at once from its checkpoint") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Checkpoint("r-1", 20);
  story.now = story.now + Millis(3000);
  const Actions again = story.Hello("n1", 1, 0, "2");
  REQUIRE(Said<wire::Grant>(again).size() == 1);
  CHECK(Said<wire::Grant>(again)[0].attempt.attempt == AttemptNumber(2));
  REQUIRE(Said<wire::Grant>(again)[0].checkpoints.size() == 1);
  CHECK(Said<wire::Grant>(again)[0].checkpoints[0].step == 20);
  CHECK(story.booked["drain"] == 3000);
}

TEST_CASE("a home that was down for a night is billed for the lease, not for the night") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Meter("r-1", UsageClass::kProductive, story.now, story.now + Millis(1000));
  story.now = story.now + Millis(8 * 3600 * 1000);
  story.Hello("n1", 1, 0, "2");
  CHECK(story.booked["productive"] == 1000);
  CHECK(story.booked["drain"] == 20000);
  CHECK(story.PlaceOf("r-1") == "n1:1");
}

TEST_CASE("a worker that says that it is going down gets nothing until it was started again") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Checkpoint("r-1", 20);
  const wire::AttemptRef held = story.attempt("r-1").ref;
  story.SayLeaving("n1");
  CHECK(story.PlaceOf("r-1") == "n1:1");
  story.Finish("r-1", EndReason::kPreempted);
  CHECK(story.StateOf("r-1") == "queued");
  story.Hello("n1", 1, 0, "1", {held});  // the same incarnation in a new session
  CHECK(story.StateOf("r-1") == "queued");
  CHECK(WhyWaiting(story.core.state(), story.run("r-1"), story.now).front() == "worker n1 is going down");
  story.Hello("n1", 1, 0, "2");
  CHECK(story.PlaceOf("r-1") == "n1:1");
}

TEST_CASE("a grant that crosses with the word that its worker is going down goes elsewhere at once") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.SayLeaving("n1");
  CHECK(story.StateOf("r-1") == "queued");
  story.Hello("n2", 1);
  CHECK(story.PlaceOf("r-1") == "n2:1");
}

TEST_CASE("an attempt that ends as preempted says nothing about its worker") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Finish("r-1", EndReason::kPreempted);
  CHECK(story.PlaceOf("r-1") == "n1:1");
}

TEST_CASE("a grant that was lost on its way is said again; one that arrived is not") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  const wire::AttemptRef ref = story.attempt("r-1").ref;
  CHECK(Said<wire::Grant>(story.Hello("n1", 1)).size() == 1);
  story.Advance(Millis(3000), {"n1"});
  CHECK(Said<wire::Grant>(story.Step(story.core.OnHeartbeat(WorkerId("n1"), 1, {}, story.now))).size() == 1);
  CHECK(Said<wire::Grant>(story.Hello("n1", 1, 0, "1", {ref})).empty());
  CHECK(story.PlaceOf("r-1") == "n1:1");
}

TEST_CASE("cancel, pause and resume") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Submit(RunBuilder("r-2"));
  story.Step(story.core.OnCancel(RunId("r-2"), false, "not needed", story.now));
  CHECK(story.StateOf("r-2") == "cancelled/cancelled");

  const Actions pausing = story.Step(story.core.OnPause(RunId("r-1"), story.now));
  REQUIRE(Said<wire::Stop>(pausing).size() == 1);
  CHECK(Said<wire::Stop>(pausing)[0].mode == wire::StopMode::kCheckpoint);
  story.Finish("r-1", EndReason::kPreempted);
  CHECK(story.StateOf("r-1") == "paused");
  story.Step(story.core.OnResume(RunId("r-1"), story.now));
  CHECK(story.PlaceOf("r-1") == "n1:1");

  story.Step(story.core.OnCancel(RunId("r-1"), false, "", story.now));
  const Actions sharper = story.Step(story.core.OnCancel(RunId("r-1"), true, "", story.now));
  CHECK(Said<wire::Stop>(sharper)[0].mode == wire::StopMode::kNow);
  story.Finish("r-1", EndReason::kCancelled);
  CHECK(story.StateOf("r-1") == "cancelled/cancelled");
}

TEST_CASE("work that was done before the cancel arrived counts") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Step(story.core.OnCancel(RunId("r-1"), true, "", story.now));
  story.Finish("r-1", EndReason::kDone);
  CHECK(story.StateOf("r-1") == "succeeded/done");
}

TEST_CASE("a run waits for those it comes after, and ends with them where they fail") {
  Story story;
  story.Hello("n1", 2);
  story.Submit(RunBuilder("r-1"));
  story.Submit(RunBuilder("r-2").After("r-1"));
  story.Submit(RunBuilder("r-3").After("r-2"));
  CHECK(story.PlaceOf("r-2") == "queued");
  CHECK(WhyWaiting(story.core.state(), story.run("r-2"), story.now).front() == "after r-1 (r-1), which is running");
  story.Finish("r-1", EndReason::kDone);
  CHECK(story.PlaceOf("r-2") == "n1:1");
  story.Finish("r-2", EndReason::kDataError);
  CHECK(story.StateOf("r-3") == "cancelled/cancelled");
}

TEST_CASE("a paused run whose predecessor failed meanwhile ends when it is resumed") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Submit(RunBuilder("r-2").After("r-1"));
  story.Step(story.core.OnPause(RunId("r-2"), story.now));
  story.Finish("r-1", EndReason::kDataError);
  CHECK(story.StateOf("r-2") == "paused");
  story.Step(story.core.OnResume(RunId("r-2"), story.now));
  CHECK(story.StateOf("r-2") == "cancelled/cancelled");
}

TEST_CASE("two runs, one after the other, that expire in one tick end once each") {
  Story story;
  story.Submit(RunBuilder("r-1").ExpiresAfter(Millis(5000)));
  story.Submit(RunBuilder("r-2").After("r-1").ExpiresAfter(Millis(5000)));
  story.now = story.now + Millis(6000);
  const Actions ended = story.Step(story.core.OnTick(story.now));
  CHECK(std::count_if(ended.events.begin(), ended.events.end(), [](const Event& event) { return event.kind == "ended"; }) == 2);
  CHECK(story.StateOf("r-1") == "expired/expired");
  CHECK(story.StateOf("r-2") == "cancelled/cancelled");
}

TEST_CASE("outputs that would leave their folder are not taken") {
  for (const wire::Output& output : {wire::Output{"../up", true, {}}, wire::Output{"/etc", true, {}},
                                     wire::Output{"out", true, {{"a/../../b", Digest(), 0}}}}) {
    Story story;
    story.Hello("n1", 1);
    story.Submit(RunBuilder("r-1"));
    story.Step(story.core.OnFinished(WorkerId("n1"), 1, {story.attempt("r-1").ref, EndReason::kDone, {}, {output}, 0, {}, ""},
                                     story.now));
    CHECK(story.StateOf("r-1") == "failed/internal");
  }
}

TEST_CASE("a worker that counts more rows than can be ends the attempt, not the scheduler") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1").Kind("batch"));
  story.Step(story.core.OnRowsWanted(WorkerId("n1"), 1, {story.attempt("r-1").ref, 1, uint64_t{1} << 60, {}}, story.now));
  CHECK(story.attempt("r-1").stop_reason == EndReason::kDataError);
  story.FinishAsTold("r-1");
  CHECK(story.DetailOf("r-1").find("a run takes at most 100000000") != std::string::npos);
}

TEST_CASE("limits of time") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1").MaxDuration(Millis(10000)));
  story.Submit(RunBuilder("r-2").ExpiresAfter(Millis(5000)));
  story.Advance(Millis(9000), {"n1"});
  CHECK(story.StateOf("r-2") == "expired/expired");
  CHECK_FALSE(story.attempt("r-1").stopping);
  story.Advance(Millis(1000), {"n1"});
  CHECK(story.attempt("r-1").stop_reason == EndReason::kWalltime);
  story.FinishAsTold("r-1");
  CHECK(story.StateOf("r-1") == "failed/walltime");
  CHECK(story.DetailOf("r-1") ==
        "limits.max_duration: 10.0s was reached: the run had taken 10.0s in 1 attempt; submit the job again with a longer one");
  CHECK(story.DetailOf("r-2") ==
        "expires_after: 5.0s after its submission the run had not ended; submit the job again with a longer one");
}

TEST_CASE("a run that is stopped for its cost ends in what was said of it; a user's cancel takes that back") {
  for (const bool cancelled : {false, true}) {
    CAPTURE(cancelled);
    Story story;
    story.Hello("n1", 1);
    story.Submit(RunBuilder("r-1"));
    story.Step(story.core.OnBudgetSpent(RunId("r-1"), MakeError(ErrorCode::kBudget, "$1 was reached"), story.now));
    CHECK(ExplainJson(story.core.state(), story.run("r-1"), "", story.now).find("$1 was reached") != std::string::npos);
    if (cancelled) story.Step(story.core.OnCancel(RunId("r-1"), false, "no more", story.now));
    story.FinishAsTold("r-1");
    CHECK(story.StateOf("r-1") == (cancelled ? "cancelled/cancelled" : "failed/budget"));
    CHECK(story.DetailOf("r-1") == (cancelled ? "" : "$1 was reached"));
  }
}

TEST_CASE("an output that cannot be published fails the run with what the registry said") {
  Story story;
  story.publish_result = MakeError(ErrorCode::kSpec, "the name is taken");
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  story.Finish("r-1", EndReason::kDone);
  CHECK(story.StateOf("r-1") == "failed/spec_error");
  CHECK(story.run("r-1").error.message == "the name is taken");
}

TEST_CASE("storage: the run waits for a worker whose disk takes writes, and ends where waiting does not mend it") {
  Story story;
  story.Hello("n1", 1);
  story.Submit(RunBuilder("r-1"));
  wire::Heartbeat full;
  full.storage_ok = false;
  full.storage_problem = "0 bytes are free";
  story.Step(story.core.OnHeartbeat(WorkerId("n1"), 1, full, story.now));
  story.Finish("r-1", EndReason::kStorage);
  CHECK(story.StateOf("r-1") == "queued");
  CHECK(WhyWaiting(story.core.state(), story.run("r-1"), story.now).front() == "storage: worker n1: 0 bytes are free");
  story.Step(story.core.OnHeartbeat(WorkerId("n1"), 2, {}, story.now));
  for (const char* state : {"queued", "failed/storage"}) {
    story.Advance(Millis(2000), {"n1"});  // the worker could have said that it is not well
    CHECK(story.PlaceOf("r-1") == "n1:1");
    story.Finish("r-1", EndReason::kStorage);
    CHECK(story.StateOf("r-1") == state);
  }
}

struct BatchStory : Story {
  explicit BatchStory(uint64_t rows) : rows_(rows) {
    Hello("n1", 1);
    Submit(RunBuilder("r-b").Kind("batch"));
  }
  std::vector<wire::Range> Ask(uint32_t count, std::vector<wire::Range> held = {}) {
    const Actions actions =
        Step(core.OnRowsWanted(WorkerId("n1"), ++request_, {attempt("r-b").ref, count, rows_, std::move(held)}, now));
    const auto leases = Said<wire::RowLease>(actions);
    return leases.empty() ? std::vector<wire::Range>() : leases[0].ranges;
  }
  uint64_t Commit(std::vector<uint64_t> rows) {
    wire::RowReports reports{attempt("r-b").ref, {}};
    for (uint64_t row : rows) {
      reports.rows.push_back({RowIndex(row), wire::RowState::kOk, AttemptNumber(1), "shard", 0, 1, Digest(), 0, 0, 0});
    }
    return Said<wire::RowsCommitted>(Step(core.OnRowReports(WorkerId("n1"), 1, reports, now)))[0].accepted;
  }
  uint64_t rows_;
  uint64_t request_ = 0;
};

TEST_CASE("rows are leased once, committed once, and given again when their engine is gone") {
  BatchStory story(10);
  CHECK(story.Ask(4) == std::vector<wire::Range>{{0, 4}});
  CHECK(story.Ask(4, {{0, 4}}) == std::vector<wire::Range>{{4, 4}});
  CHECK(story.Commit({1, 2}) == 2);
  CHECK(story.Commit({1, 2}) == 0);
  story.Finish("r-b", EndReason::kNodeLost);
  CHECK(story.Ask(20) == std::vector<wire::Range>{{0, 1}, {3, 7}});
  CHECK(story.Commit({0, 3, 4, 5, 6, 7, 8, 9}) == 8);
  story.Finish("r-b", EndReason::kDone);
  CHECK(story.StateOf("r-b") == "succeeded/done");
}

TEST_CASE("a batch with committed rows goes on where their bytes lie, and holds nobody up while it waits for that") {
  for (const char* home : {"", "shared"}) {
    CAPTURE(home);
    BatchStory story(10);
    story.home_id = home;
    story.Hello("n1", 1, 0, "1", {story.attempt("r-b").ref});
    story.Ask(4);
    story.Commit({1, 2});
    story.Hello("n2", 1);
    story.Advance(Millis(30000), {"n2"});
    const bool shared = *home != '\0';
    CHECK(story.PlaceOf("r-b") == (shared ? "n2:1" : "queued"));
    if (shared) continue;
    const std::vector<std::string> why = WhyWaiting(story.core.state(), story.run("r-b"), story.now);
    CHECK(why.front() == "waits for worker n1, whose disk holds its rows");
    story.Submit(RunBuilder("r-1"));
    CHECK(story.PlaceOf("r-1") == "n2:1");
    story.home_id = "found later";  // by the same worker, in its own home
    story.Hello("n1", 1, 0, "2");
    CHECK(story.PlaceOf("r-b") == "n1:1");
  }
}

TEST_CASE("a lease whose answer was lost is given again") {
  BatchStory story(10);
  CHECK(story.Ask(4) == std::vector<wire::Range>{{0, 4}});
  CHECK(story.Ask(4) == std::vector<wire::Range>{{0, 4}});
  CHECK(story.Ask(2, {{0, 4}}) == std::vector<wire::Range>{{4, 2}});
}

TEST_CASE("a row that crashes its engine alone is given up, and the batch ends") {
  BatchStory story(6);
  story.Ask(6);
  story.Commit({0, 1});
  story.Finish("r-b", EndReason::kRankCrash);  // four in flight: all suspect, none to blame
  const uint64_t poison = 4;
  int crashes = 0;
  while (story.core.state().attempts.contains(RunId("r-b"))) {
    const std::vector<wire::Range> leased = story.Ask(8);
    if (leased.empty()) {
      story.Finish("r-b", EndReason::kDone);
      break;
    }
    REQUIRE(leased.size() == 1);
    REQUIRE(leased[0].count == 1);
    if (leased[0].first == poison) {
      ++crashes;
      story.Finish("r-b", EndReason::kRankCrash);
      story.Advance(Millis(61000), {"n1"});
    } else {
      story.Commit({leased[0].first});
    }
  }
  CHECK(crashes == 3);
  CHECK(story.StateOf("r-b") == "succeeded/done");
}

TEST_CASE("elements of an array: every slot that is free, each element once, failures counted at the end") {
  Story story;
  story.Hello("n1", 4);
  story.Submit(RunBuilder("r-a").Array(5));
  CHECK(story.PlaceOf("r-a") == "n1:4");
  const wire::AttemptRef ref = story.attempt("r-a").ref;
  const auto leases =
      Said<wire::ElementLease>(story.Step(story.core.OnElementsWanted(WorkerId("n1"), 1, {ref, 8, {}}, story.now)));
  REQUIRE(leases.size() == 1);
  CHECK(leases[0].ranges == std::vector<wire::Range>{{0, 5}});
  wire::ElementReports reports{ref, {}, {}};
  for (uint64_t i = 0; i < 5; ++i) {
    reports.started.push_back({i, story.now});
    reports.ended.push_back({i, story.now, i == 3 ? 1 : 0});
  }
  const Actions committed = story.Step(story.core.OnElementReports(WorkerId("n1"), 2, reports, story.now));
  CHECK(committed.elements.size() == 5);
  CHECK(story.Step(story.core.OnElementReports(WorkerId("n1"), 2, reports, story.now)).elements.empty());
  CHECK(Said<wire::ElementLease>(story.Step(story.core.OnElementsWanted(WorkerId("n1"), 3, {ref, 8, {}}, story.now)))[0].no_more);
  story.Finish("r-a", EndReason::kDone);
  CHECK(story.StateOf("r-a") == "failed/user_error");
}

}  // namespace
}  // namespace lorry
