#include "scheduler/event_log.h"

#include <catch2/catch.hpp>

#include "base/files.h"
#include "scheduler/placement.h"
#include "tests/scheduler/scheduler_story.h"

namespace lorry {
namespace {

// A story whose every step is stored.
struct StoredStory : Story {
  StoredStory() {
    store = std::move(*Store::Open(home.path() + "/state.db", SchedulerMigrations(), StoreMode::kCreate));
    log = *EventLog::Open(store->Read()->db());
  }
  void Keep(const Actions& actions) {
    auto transaction = store->Begin();
    REQUIRE(log.Append(transaction->db(), actions, core.state(), now).ok());
    REQUIRE(transaction->Commit().ok());
  }
  State Load() { return *LoadState(store->Read()->db(), now); }
  void Restart() { core = Core(CoreOptions(), Load()); }

  TempDirectory home;
  std::unique_ptr<Store> store;
  EventLog log;
};

TEST_CASE("the state that was stored is the state that is loaded") {
  StoredStory story;
  story.Keep(story.Hello("n1", 2));
  story.Keep(story.Submit(RunBuilder("r-b").Kind("batch").Priority(70).MaxAttempts(5).ModelCreated(Instant(77))));
  story.Keep(story.Submit(RunBuilder("r-2").Cpus(2).After("r-b")));
  const wire::AttemptRef ref = story.attempt("r-b").ref;
  story.Keep(story.Step(story.core.OnRowsWanted(WorkerId("n1"), 1, {ref, 4, 10, {}}, story.now)));
  story.Keep(story.Step(story.core.OnRowReports(
      WorkerId("n1"), 2,
      {ref, {{RowIndex(1), wire::RowState::kOk, AttemptNumber(1), "attempts/1/s", 5, 6, Sha256Of("r"), 7, 8, 9}}}, story.now)));
  wire::Heartbeat beat;
  beat.metered.push_back({ref, 0, {{story.attempt("r-b").devices[0], "cpu", UsageClass::kStartup, Instant(5), Instant(9)}}});
  story.Keep(story.Step(story.core.OnHeartbeat(WorkerId("n1"), 3, beat, story.now)));
  story.Keep(story.Step(story.core.OnPause(RunId("r-b"), story.now)));

  const State loaded = story.Load();
  CHECK(SanityCheck(loaded).empty());
  const Run& run = loaded.runs.at(RunId("r-b"));
  CHECK(run.spec.priority == 70);
  CHECK(run.spec.max_attempts == 5);
  CHECK(run.spec.model_created == Instant(77));
  CHECK(run.wish == Wish::kPause);
  CHECK(run.book.total() == 10);
  CHECK(run.book.done() == 1);
  CHECK(run.rows_worker == WorkerId("n1"));
  CHECK(run.book.LeasedRanges() == std::vector<wire::Range>{{0, 1}, {2, 2}});
  CHECK(loaded.runs.at(RunId("r-2")).spec.after == std::vector<RunId>{RunId("r-b")});
  CHECK(loaded.queues[0].size() == 1);
  const Attempt& attempt = loaded.attempts.at(RunId("r-b"));
  CHECK(attempt.ref == ref);
  CHECK(attempt.stopping);
  REQUIRE(attempt.spans.size() == 1);
  CHECK(attempt.spans[0].t1 == Instant(9));
  CHECK(loaded.last_epoch == ref.epoch);

  auto page = CommittedRows(story.store->Read()->db(), RunId("r-b"), RowIndex(0), 10);
  REQUIRE(page->rows.size() == 1);
  CHECK(page->last);
  CHECK(page->rows[0].digest == Sha256Of("r"));
  CHECK(page->rows[0].completion_tokens == 8);
}

TEST_CASE("a stop outlives the scheduler, also where the wish that led to it was taken back") {
  StoredStory story;
  story.Keep(story.Hello("n1", 1));
  story.Keep(story.Submit(RunBuilder("r-1")));
  const wire::AttemptRef ref = story.attempt("r-1").ref;
  story.Keep(story.Step(story.core.OnPause(RunId("r-1"), story.now)));
  story.Keep(story.Step(story.core.OnResume(RunId("r-1"), story.now)));
  story.Restart();
  const auto said = Said<wire::Stop>(story.Hello("n1", 1, 0, "1", {ref}));
  REQUIRE(said.size() == 1);
  CHECK(said[0].mode == wire::StopMode::kCheckpoint);
  CHECK(said[0].reason == EndReason::kPreempted);
  story.Finish("r-1", EndReason::kPreempted);
  CHECK(story.PlaceOf("r-1") == "n1:1");
}

TEST_CASE("what there is to say of a stop outlives the scheduler") {
  StoredStory story;
  story.Keep(story.Hello("n1", 1));
  story.Keep(story.Submit(RunBuilder("r-1")));
  const wire::AttemptRef ref = story.attempt("r-1").ref;
  story.Keep(story.Step(story.core.OnBudgetSpent(RunId("r-1"), MakeError(ErrorCode::kBudget, "$1 was reached"), story.now)));
  story.Restart();
  story.Hello("n1", 1, 0, "1", {ref});
  story.FinishAsTold("r-1");
  CHECK(story.StateOf("r-1") == "failed/budget");
  CHECK(story.DetailOf("r-1") == "$1 was reached");
}

TEST_CASE("a run that has ended leaves no leases") {
  StoredStory story;
  const auto leases = [&] { return *story.store->Read()->db().AskInteger("SELECT count(*) FROM work_lease"); };
  story.Keep(story.Hello("n1", 1));
  story.Keep(story.Submit(RunBuilder("r-a").Array(3)));
  const wire::AttemptRef ref = story.attempt("r-a").ref;
  story.Keep(story.Step(story.core.OnElementsWanted(WorkerId("n1"), 1, {ref, 8, {}}, story.now)));
  CHECK(leases() == 1);
  wire::ElementReports reports{ref, {}, {{0, story.now, 0}, {1, story.now, 0}, {2, story.now, 0}}};
  story.Keep(story.Step(story.core.OnElementReports(WorkerId("n1"), 2, reports, story.now)));
  story.Keep(story.Finish("r-a", EndReason::kDone));
  CHECK(leases() == 0);
}

TEST_CASE("a drained worker is drained until it is resumed, whatever is started again meanwhile") {
  StoredStory story;
  story.Keep(story.Hello("n1", 1));
  story.Keep(story.Step(story.core.OnDrainWorker(WorkerId("n1"), true, story.now)));
  story.Restart();
  story.Keep(story.Submit(RunBuilder("r-1")));
  CHECK(WhyWaiting(story.core.state(), story.run("r-1"), story.now).front() == "no worker is connected");
  story.Keep(story.Hello("n1", 1, 0, "2"));
  CHECK(story.StateOf("r-1") == "queued");
  CHECK(WhyWaiting(story.core.state(), story.run("r-1"), story.now).front() == "worker n1 is drained");
  story.Keep(story.Step(story.core.OnDrainWorker(WorkerId("n1"), false, story.now)));
  CHECK(story.PlaceOf("r-1") == "n1:1");
  story.Restart();
  CHECK_FALSE(story.core.state().workers.at(WorkerId("n1")).drained);
}

TEST_CASE("a file of the version before drains were stored is opened") {
  TempDirectory home;
  const std::string path = home.path() + "/state.db";
  REQUIRE(Store::Open(path, {SchedulerMigrations().front()}, StoreMode::kCreate).ok());
  auto store = Store::Open(path, SchedulerMigrations(), StoreMode::kMustExist);
  REQUIRE(store.ok());
  CHECK(LoadState((*store)->Read()->db(), Moment())->workers.empty());
}

TEST_CASE("events follow from one another, and one that was changed is found") {
  StoredStory story;
  story.Keep(story.Hello("n1", 2));
  story.Keep(story.Submit(RunBuilder("r-1")));
  story.Keep(story.Finish("r-1", EndReason::kRankLost));
  auto events = EventsAfter(story.store->Read()->db(), RunId("r-1"), Sequence(0), 100);
  std::vector<std::string> kinds;
  for (const wire::RunEvent& event : *events) kinds.push_back(event.kind);
  CHECK(kinds == std::vector<std::string>{"submitted", "granted", "attempt_ended", "granted"});
  CHECK(EventsAfter(story.store->Read()->db(), RunId("r-1"), Sequence(2), 100)->size() == 2);
  CHECK(EventsAfter(story.store->Read()->db(), RunId(), Sequence(0), 3)->size() == 3);
  CHECK(VerifyEvents(story.store->Read()->db()).ok());
  auto transaction = story.store->Begin();
  REQUIRE(transaction->db().Run("UPDATE event SET json='{}' WHERE seq=2").ok());
  REQUIRE(transaction->Commit().ok());
  Status changed = VerifyEvents(story.store->Read()->db());
  REQUIRE_FALSE(changed.ok());
  CHECK(changed.error().message == "state.db: event 2 does not follow from the one before it");
}

}  // namespace
}  // namespace lorry
