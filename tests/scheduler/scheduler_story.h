// A scheduler's core and the workers that it thinks there are, for tests that read as short stories. After every step SanityCheck
// must find nothing.
#pragma once

#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "scheduler/client_desk.h"
#include "scheduler/core.h"

namespace lorry {

class RunBuilder {
 public:
  explicit RunBuilder(std::string id) {
    spec_.id = RunId(id);
    spec_.name = id;
    spec_.submission = SubmissionId("s-" + id);
    spec_.project = ProjectName("docs");
    spec_.kind = "finetune";
    spec_.job_json = "{}";
  }
  RunBuilder& Cpus(uint32_t n) {
    spec_.needs.count = n;
    return *this;
  }
  RunBuilder& Gpus(uint32_t n, std::string kind = "") {
    spec_.needs = DeviceNeeds{true, std::move(kind), 0, n, false};
    return *this;
  }
  RunBuilder& Priority(int p) {
    spec_.priority = p;
    return *this;
  }
  RunBuilder& Kind(std::string kind) {
    spec_.kind = std::move(kind);
    return *this;
  }
  RunBuilder& Array(uint64_t n) {
    spec_.kind = "command";
    spec_.array = n;
    spec_.needs.elastic = n > 1;
    return *this;
  }
  RunBuilder& After(std::string id) {
    spec_.after.push_back(RunId(id));
    return *this;
  }
  RunBuilder& MaxAttempts(uint32_t n) {
    spec_.max_attempts = n;
    return *this;
  }
  RunBuilder& MaxDuration(Millis d) {
    spec_.max_duration = d;
    return *this;
  }
  RunBuilder& ExpiresAfter(Millis d) {
    spec_.expires_after = d;
    return *this;
  }
  RunBuilder& ModelCreated(Instant at) {
    spec_.model_created = at;
    return *this;
  }
  RunSpec Build() const { return spec_; }

 private:
  RunSpec spec_;
};

class Story {
 public:
  Story() : core(CoreOptions(), State()) {}

  Actions Step(Actions actions) {
    for (const PublishWish& wish : actions.publish) {
      Actions ended = core.OnPublished(wish.run, publish_result, now);
      for (Send& send : ended.sends) actions.sends.push_back(send);
      for (Event& event : ended.events) actions.events.push_back(event);
    }
    for (const PostingWish& wish : actions.postings) {
      for (const wire::Span& span : wish.spans) booked[UsageClassName(span.usage_class)] += (span.t1 - span.t0).count();
    }
    const std::vector<std::string> broken = SanityCheck(core.state());
    CAPTURE(broken);
    REQUIRE(broken.empty());
    return actions;
  }
  Actions Submit(const RunBuilder& run) { return Step(core.OnSubmit(run.Build(), now)); }
  Actions Hello(const std::string& worker, int cpus, int gpus = 0, const std::string& incarnation = "1",
                std::vector<wire::AttemptRef> holds = {}) {
    wire::Hello hello{WorkerId(worker), incarnation, "test", worker, home_id, {}, std::move(holds)};
    for (int i = 0; i < cpus; ++i) {
      hello.devices.push_back({DeviceId(worker + "/cpu-" + std::to_string(i)), "cpu", false, 0, "", ""});
    }
    for (int i = 0; i < gpus; ++i) {
      hello.devices.push_back({DeviceId(worker + "/gpu-" + std::to_string(i)), "H100", true, 80000000000u, "", ""});
    }
    return Step(core.OnHello(hello, now));
  }
  // Time passes while these workers give signs of life.
  void Advance(Millis d, std::vector<std::string> alive = {}) {
    const Steady until = now.steady + d;
    while (now.steady < until) {
      now = now + std::min(until - now.steady, Millis(1000));
      for (const std::string& worker : alive) Step(core.OnSignOfLife(WorkerId(worker), now));
      Step(core.OnTick(now));
    }
  }
  Actions Finish(const std::string& run, EndReason reason) {
    const Attempt& attempt = core.state().attempts.at(RunId(run));
    wire::Finished finished{attempt.ref, reason, {}, {}, 0, {}, ""};
    if (reason != EndReason::kDone) finished.error.message = "as told";
    return Step(core.OnFinished(attempt.worker, 1, finished, now));
  }
  // The attempt ends for the reason that it was told to stop for; its worker has nothing to add.
  Actions FinishAsTold(const std::string& run) {
    const Attempt& attempt = core.state().attempts.at(RunId(run));
    return Step(core.OnFinished(attempt.worker, 1, {attempt.ref, attempt.stop_reason, {}, {}, 0, {}, ""}, now));
  }
  // Device time of the whole attempt so far in one class, reported with a heartbeat.
  void Meter(const std::string& run, UsageClass usage_class, Instant t0, Instant t1) {
    const Attempt& attempt = core.state().attempts.at(RunId(run));
    wire::Metered metered{attempt.ref, attempt.spans.size(), {}};
    for (const DeviceId& device : attempt.devices) metered.spans.push_back({device, "cpu", usage_class, t0, t1});
    wire::Heartbeat beat;
    beat.metered.push_back(metered);
    Step(core.OnHeartbeat(attempt.worker, 1, beat, now));
  }
  // The worker goes down, and names what it has accepted.
  Actions SayLeaving(const std::string& worker) {
    wire::Heartbeat beat;
    beat.leaving = true;
    for (const auto& [id, attempt] : core.state().attempts) {
      if (attempt.worker == WorkerId(worker) && attempt.accepted) beat.metered.push_back({attempt.ref, 0, {}});
    }
    return Step(core.OnHeartbeat(WorkerId(worker), 1, beat, now));
  }
  void Checkpoint(const std::string& run, uint64_t step) {
    const Attempt& attempt = core.state().attempts.at(RunId(run));
    Step(core.OnCheckpoint(attempt.worker, 1,
                           {attempt.ref, {step, "checkpoints/step-" + std::to_string(step), Sha256Of(std::to_string(step)), {}}},
                           now));
  }
  const Run& run(const std::string& id) const { return core.state().runs.at(RunId(id)); }
  const Attempt& attempt(const std::string& id) const { return core.state().attempts.at(RunId(id)); }
  std::string StateOf(const std::string& id) const {
    const Run& r = run(id);
    return std::string(RunStateName(r.state)) + (r.reason == EndReason::kNone ? "" : "/" + std::string(EndReasonName(r.reason)));
  }
  std::string DetailOf(const std::string& id) const { return Summarize(core.state(), run(id), now).detail; }
  // "n1:2" where it runs on two devices of n1, else its state.
  std::string PlaceOf(const std::string& id) const {
    auto live = core.state().attempts.find(RunId(id));
    return live == core.state().attempts.end() ? StateOf(id)
                                               : live->second.worker.str() + ":" + std::to_string(live->second.devices.size());
  }

  Core core;
  Moment now{Instant(1000000), Steady(500)};
  std::string home_id;  // of the next worker that says hello
  Result<std::string> publish_result = std::string("{}");
  std::map<std::string_view, int64_t> booked;  // device-milliseconds by class
};

template <class Body>
std::vector<Body> Said(const Actions& actions) {
  std::vector<Body> bodies;
  for (const Send& send : actions.sends) {
    if (const Body* body = std::get_if<Body>(&send.body)) bodies.push_back(*body);
  }
  return bodies;
}

}  // namespace lorry
