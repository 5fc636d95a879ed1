// A seeded town of workers around the pure core: messages are lost, sent twice and late, workers die and come back, the scheduler
// is killed and loads what it had stored, users change their mind. After every step SanityCheck must find nothing; at the end
// every run that was accepted has ended, every row and element was committed exactly once, and device time has no overlap.
#include <catch2/catch.hpp>

#include <deque>
#include <random>

#include "base/files.h"
#include "base/store/store.h"
#include "scheduler/core.h"
#include "scheduler/event_log.h"

namespace lorry {
namespace {

using Random = std::mt19937_64;

bool Chance(Random& random, int in_a_thousand) { return static_cast<int>(random() % 1000) < in_a_thousand; }

// A worker as simple as one can be: it does one row or element a step, and repeats itself until it is answered.
struct ToyWorker {
  WorkerId id;
  int cpus = 2;
  int incarnation = 1;
  bool connected = false;
  struct Job {
    wire::Grant grant;
    Instant since;
    std::vector<wire::Range> held;
    bool no_more = false;
    bool stopping = false;
    EndReason stop_reason = EndReason::kNone;
    uint64_t step = 0;
    bool finishing = false;
    wire::Finished finished;
  };
  std::map<RunId, Job> jobs;
};

class Town {
 public:
  explicit Town(uint64_t seed) : random_(seed) {
    store_ = std::move(*Store::Open(home_.path() + "/state.db", SchedulerMigrations(), StoreMode::kCreate));
    Restart();
    for (int i = 0; i < 3; ++i) workers_.push_back(ToyWorker{WorkerId("n" + std::to_string(i)), 1 + i, 1, false, {}});
  }

  void Run(int steps, bool quiet) {
    for (int i = 0; i < steps; ++i) {
      now_ = now_ + Millis(200);
      if (!quiet) Disturb();
      for (ToyWorker& worker : workers_) Work(worker, quiet);
      Do(core_->OnTick(now_));
    }
  }

  void Submit(const std::string& id, const std::string& kind, uint64_t work) {
    RunSpec spec;
    spec.id = RunId(id);
    spec.submission = SubmissionId(id);
    spec.name = id;
    spec.kind = kind;
    spec.job_json = "{}";
    spec.needs.count = 1 + random_() % 2;
    if (kind == "command") {
      spec.array = work;
      spec.needs.elastic = true;
    }
    work_[spec.id] = work;
    Do(core_->OnSubmit(std::move(spec), now_));
  }

  const State& state() const { return core_->state(); }
  Database& db() { return reader_->db(); }
  void OpenReader() { reader_.emplace(std::move(*store_->Read())); }
  const std::map<RunId, uint64_t>& work() const { return work_; }

 private:
  // Stores what was decided; now and then the scheduler dies before or after the commit.
  void Do(Actions actions) {
    Publish(&actions);
    const std::vector<std::string> broken = SanityCheck(core_->state());
    CAPTURE(broken);
    REQUIRE(broken.empty());
    if (die_before_commit_) {
      die_before_commit_ = false;
      return Restart();
    }
    if (actions.ChangesState()) {
      auto transaction = std::move(*store_->Begin());
      REQUIRE(log_.Append(transaction.db(), actions, core_->state(), now_).ok());
      REQUIRE(transaction.Commit().ok());
    }
    if (die_after_commit_) {
      die_after_commit_ = false;
      return Restart();
    }
    for (Send& send : actions.sends) {
      if (loss_ > 0 && Chance(random_, loss_)) continue;
      mail_.push_back(send);
    }
  }
  void Publish(Actions* actions) {
    for (const PublishWish& wish : actions->publish) {
      Actions ended = core_->OnPublished(wish.run, std::string("{}"), now_);
      actions->events.insert(actions->events.end(), ended.events.begin(), ended.events.end());
      actions->runs.insert(ended.runs.begin(), ended.runs.end());
      actions->attempts.insert(actions->attempts.end(), ended.attempts.begin(), ended.attempts.end());
      actions->sends.insert(actions->sends.end(), ended.sends.begin(), ended.sends.end());
    }
  }
  void Restart() {
    Reader reader = std::move(*store_->Read());
    core_ = std::make_unique<Core>(CoreOptions(), std::move(*LoadState(reader.db(), now_)));
    log_ = std::move(*EventLog::Open(reader.db()));
    mail_.clear();
    for (ToyWorker& worker : workers_) worker.connected = false;
  }
  void Disturb() {
    loss_ = 100;
    if (Chance(random_, 10)) die_before_commit_ = true;
    if (Chance(random_, 10)) die_after_commit_ = true;
    for (ToyWorker& worker : workers_) {
      if (Chance(random_, 10)) {  // kill -9, and up again
        worker.jobs.clear();
        ++worker.incarnation;
        worker.connected = false;
      }
      if (Chance(random_, 3)) asleep_[worker.id] = now_ + Millis(random_() % 60000);
    }
    if (Chance(random_, 20)) PauseAndResume(std::next(work_.begin(), static_cast<long>(random_() % work_.size()))->first);
  }
  // A stop whose wish is taken back while it goes on.
  void PauseAndResume(const RunId& run) {
    Do(core_->OnPause(run, now_));
    Do(core_->OnResume(run, now_));
  }

  void Hello(ToyWorker& worker) {
    wire::Hello hello{worker.id, std::to_string(worker.incarnation), "", "", "", {}, {}};
    for (int i = 0; i < worker.cpus; ++i) {
      hello.devices.push_back({DeviceId(worker.id.str() + "/" + std::to_string(i)), "cpu", false, 0, "", ""});
    }
    for (auto& [run, job] : worker.jobs) hello.holds.push_back(job.grant.attempt);
    worker.connected = true;
    Actions actions = core_->OnHello(hello, now_);
    for (const wire::AttemptRef& ref : actions.stop) worker.jobs.erase(ref.run);
    Do(std::move(actions));
  }
  void Work(ToyWorker& worker, bool quiet) {
    if (!quiet && asleep_[worker.id] > now_) return;
    auto known = state().workers.find(worker.id);
    if (!worker.connected || known == state().workers.end() || known->second.health == Health::kLost) Hello(worker);
    ReadMail(worker);
    wire::Heartbeat beat;
    Do(core_->OnSignOfLife(worker.id, now_));
    std::vector<RunId> runs;
    for (auto& [run, job] : worker.jobs) {
      runs.push_back(run);
      wire::Metered metered{job.grant.attempt, 0, {}};
      for (const DeviceId& device : job.grant.devices) {
        metered.spans.push_back({device, "cpu", UsageClass::kProductive, job.since, now_});
      }
      beat.metered.push_back(metered);
    }
    Do(core_->OnHeartbeat(worker.id, 1, beat, now_));
    for (const RunId& run : runs) {
      if (worker.connected && worker.jobs.contains(run)) Step(worker, worker.jobs.at(run));
    }
  }
  void ReadMail(ToyWorker& worker) {
    std::deque<Send> rest;
    std::deque<Send> mine;
    for (Send& send : mail_) (send.worker == worker.id ? mine : rest).push_back(std::move(send));
    mail_.swap(rest);
    for (const Send& send : mine) std::visit([&](const auto& body) { Take(worker, body); }, send.body);
  }
  template <class Body>
  void Take(ToyWorker&, const Body&) {}
  void Take(ToyWorker& worker, const wire::Grant& grant) {
    auto held = worker.jobs.find(grant.attempt.run);
    if (held != worker.jobs.end() && held->second.grant.attempt.epoch >= grant.attempt.epoch) return;
    worker.jobs[grant.attempt.run] = ToyWorker::Job{grant, now_, {}, false, false, EndReason::kNone, 0, false, {}};
  }
  ToyWorker::Job* JobOf(ToyWorker& worker, const wire::AttemptRef& ref) {
    auto held = worker.jobs.find(ref.run);
    return held == worker.jobs.end() || !(held->second.grant.attempt == ref) ? nullptr : &held->second;
  }
  template <class Lease>
  void TakeLease(ToyWorker& worker, const Lease& lease) {
    ToyWorker::Job* job = JobOf(worker, lease.attempt);
    if (job == nullptr || !job->held.empty()) return;
    job->held = lease.ranges;
    job->no_more = lease.no_more;
  }
  void Take(ToyWorker& worker, const wire::RowLease& lease) { TakeLease(worker, lease); }
  void Take(ToyWorker& worker, const wire::ElementLease& lease) { TakeLease(worker, lease); }
  void Take(ToyWorker& worker, const wire::Stop& stop) {
    ToyWorker::Job* job = JobOf(worker, stop.attempt);
    if (job == nullptr) return;
    job->stopping = true;
    job->stop_reason = stop.reason;
  }
  void Take(ToyWorker& worker, const wire::FinishedAck& ack) {
    if (JobOf(worker, ack.attempt) != nullptr) worker.jobs.erase(ack.attempt.run);
  }

  void Step(ToyWorker& worker, ToyWorker::Job& job) {
    const wire::AttemptRef ref = job.grant.attempt;
    if (!job.finishing && job.stopping) EndJob(&job, job.stop_reason);
    if (!job.finishing && Chance(random_, loss_ > 0 ? 5 : 0)) EndJob(&job, EndReason::kRankLost);
    if (job.finishing) return Do(core_->OnFinished(worker.id, 9, job.finished, now_));
    if (job.grant.kind == "finetune") {
      if (++job.step * 20 >= work_[ref.run]) return EndJob(&job, EndReason::kDone);
      return Do(core_->OnCheckpoint(worker.id, 9, {ref, {job.step, "c", Digest(), {}}}, now_));
    }
    if (job.held.empty() && job.no_more) return EndJob(&job, EndReason::kDone);
    if (job.held.empty()) return Ask(worker, ref);
    Report(worker, job, ref);
  }
  void EndJob(ToyWorker::Job* job, EndReason reason) {
    job->finishing = true;
    job->finished = wire::Finished{job->grant.attempt, reason, {}, {}, 0, {}, ""};
    for (const DeviceId& device : job->grant.devices) {
      job->finished.spans.push_back({device, "cpu", UsageClass::kProductive, job->since, now_});
    }
  }
  void Ask(ToyWorker& worker, const wire::AttemptRef& ref) {
    if (state().runs.at(ref.run).spec.array > 0) {
      Do(core_->OnElementsWanted(worker.id, 9, {ref, 3, {}}, now_));
    } else {
      Do(core_->OnRowsWanted(worker.id, 9, {ref, 3, work_[ref.run], {}}, now_));
    }
  }
  // Everything held is reported at once, now and then twice; then it is no longer held.
  void Report(ToyWorker& worker, ToyWorker::Job& job, const wire::AttemptRef& ref) {
    const bool array = job.grant.array > 0;
    wire::ElementReports elements{ref, {}, {}};
    wire::RowReports rows{ref, {}};
    for (const wire::Range& range : job.held) {
      for (uint64_t i = range.first; i < range.first + range.count; ++i) {
        elements.started.push_back({i, now_});
        elements.ended.push_back({i, now_, 0});
        rows.rows.push_back({RowIndex(i), wire::RowState::kOk, ref.attempt, "shard", 0, 1, Digest(), 0, 0, 0});
      }
    }
    for (int again = 0; again < (Chance(random_, 200) ? 2 : 1); ++again) {
      if (array) {
        Do(core_->OnElementReports(worker.id, 9, elements, now_));
      } else {
        Do(core_->OnRowReports(worker.id, 9, rows, now_));
      }
      if (!worker.connected) return;  // the scheduler died on it: said again after the next hello
    }
    auto held = worker.jobs.find(ref.run);
    if (held != worker.jobs.end()) held->second.held.clear();
  }

  TempDirectory home_;
  std::unique_ptr<Store> store_;
  std::optional<Reader> reader_;
  std::unique_ptr<Core> core_;
  EventLog log_;
  Random random_;
  Moment now_{Instant(1000000), Steady(500)};
  std::vector<ToyWorker> workers_;
  std::deque<Send> mail_;
  std::map<WorkerId, Instant> asleep_;
  std::map<RunId, uint64_t> work_;
  int loss_ = 0;
  bool die_before_commit_ = false;
  bool die_after_commit_ = false;

 public:
  void EndDisturbance() {
    loss_ = 0;
    die_before_commit_ = die_after_commit_ = false;
    asleep_.clear();
    for (const auto& [run, work] : work_) Do(core_->OnResume(run, now_));  // the scheduler may have died on the wish to go on
  }
};

TEST_CASE("nothing is lost or done twice in a faulty world") {
  const uint64_t first = Catch::rngSeed() == 0 ? 1 : Catch::rngSeed();
  uint64_t done_again = 0;  // attempts beyond the first: a world without faults would prove nothing
  for (uint64_t seed = first; seed < first + 12; ++seed) {
    CAPTURE(seed);
    Town town(seed);
    town.Submit("r-tune", "finetune", 100);
    town.Submit("r-batch", "batch", 40);
    town.Submit("r-array", "command", 60);
    town.Run(150, false);
    town.Submit("r-tune2", "finetune", 60);
    town.Submit("r-array2", "command", 25);
    town.Run(200, false);
    town.EndDisturbance();
    town.Run(1500, true);
    town.OpenReader();
    for (const auto& [id, work] : town.work()) {
      if (town.state().FindRun(id) == nullptr) continue;  // the scheduler died before it was accepted
      CAPTURE(id.str());
      CHECK(RunStateName(town.state().runs.at(id).state) == "succeeded");
      done_again += town.state().runs.at(id).attempts - 1;
      if (town.state().runs.at(id).spec.kind == "finetune") continue;
      auto rows = town.db().AskInteger(
          "SELECT (SELECT count(*) FROM batch_row WHERE run=?1) + (SELECT count(*) FROM element WHERE run=?1 AND ended_ms>0)",
          id);
      CHECK(rows->value_or(0) == static_cast<int64_t>(work));
    }
    CHECK(VerifyEvents(town.db()).ok());
    auto overlaps = town.db().AskInteger(
        "SELECT count(*) FROM usage_span a JOIN usage_span b ON a.device=b.device AND (a.run, a.attempt, a.span) < "
        "(b.run, b.attempt, b.span) WHERE a.t0_ms < b.t1_ms AND b.t0_ms < a.t1_ms AND a.t1_ms > a.t0_ms AND b.t1_ms > b.t0_ms");
    CHECK(overlaps->value_or(-1) == 0);
  }
  CHECK(done_again > 0);
}

}  // namespace
}  // namespace lorry
