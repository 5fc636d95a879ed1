// One attempt that this worker holds: what every kind of job has in common. It is metered from its grant on, can be stopped,
// ends in one Finished that is said until the scheduler has committed it, and is over when the scheduler has its logs too.
//
// All calls come from the event loop's thread. What follows from background work holds the attempt weakly: it may be over.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/transport/poller.h"
#include "base/wire.h"
#include "worker/agent_options.h"
#include "worker/background.h"
#include "worker/blob_mover.h"
#include "worker/end_judge.h"
#include "worker/log_forwarder.h"
#include "worker/meter.h"
#include "worker/outbox.h"
#include "worker/storage_probe.h"
#include "worker/worker_clock.h"

namespace lorry {

// What an attempt needs of the agent; all of it outlives the attempt.
struct AttemptSurroundings {
  const AgentOptions* options;
  const WorkerClock* clock;
  Outbox* outbox;
  Background* background;
  BlobMover* mover;
  StorageProbe* storage;
  std::string socket_dir;   // short enough for socket names
  const bool* shares_home;  // the scheduler's home is this one; as the last Welcome said
};

class Attempt : public std::enable_shared_from_this<Attempt> {
 public:
  // `devices` are those of the grant, with their kinds.
  Attempt(wire::Grant grant, const std::vector<MeteredDevice>& devices, const AttemptSurroundings& around);
  virtual ~Attempt() = default;

  virtual void Begin() = 0;
  // Instead of Begin: it ends without having run.
  void Refuse(EndReason reason, const Error& error) { Finish(reason, wire::ErrorDetail::Of(error)); }
  // The scheduler's wish to end it: ends its processes, at once or after a checkpoint or the grace, and then finishes.
  void Stop(const wire::Stop& stop);
  // The scheduler gave it to someone else: ends everything, reports nothing.
  void Abandon();

  // The event loop: what to wait on, and what has happened.
  virtual void Watch(Poller* poller, uint64_t name) const { (void)poller, (void)name; }
  virtual void OnReadable() {}
  virtual void OnChildExit() {}
  // Messages about this attempt; false where it is none of its own.
  virtual bool OnMessage(const wire::Message& message);
  // Now and then, at least every 100 ms.
  virtual void OnTick(int64_t monotonic_ms);

  const wire::AttemptRef& ref() const { return grant_.attempt; }
  Meter& meter() { return meter_; }
  // The scheduler has its end: what may still be on its way is its logs.
  bool reported() const { return reported_; }
  // The scheduler has its end and its logs, or does not want them: it can be forgotten.
  bool over() const { return over_; }

 protected:
  // What a stop means for this kind; `now` where the processes get no time.
  virtual void AskToEnd(bool now) = 0;
  virtual void KillAll() = 0;
  // The devices are free; says Finished until it is committed. Outputs only with kDone.
  void Finish(EndReason reason, wire::ErrorDetail error, std::vector<wire::Output> outputs = {}, std::string facts_json = "{}");
  void FinishWith(const Error& error);
  bool finished() const { return finished_request_ != 0; }
  bool stopping() const { return stop_.has_value(); }
  bool in_grace() const { return kill_at_ != 0; }  // of a stop
  EndReason stop_reason() const { return stop_->reason; }

  // Runs `work` in the background and hands what it returns to `then`, if this attempt is still there.
  template <class Self, class Work, class Then>
  void InBackground(Self* self, Work work, Then then) {
    std::weak_ptr<Attempt> weak = weak_from_this();
    around_.background->Do([weak, self, work = std::move(work), then = std::move(then)]() -> Background::Then {
      auto result = std::make_shared<decltype(work())>(work());
      return [weak, self, result, then] {
        if (const auto alive = weak.lock(); alive != nullptr) then(self, std::move(*result));
      };
    });
  }

  // From now on the logs of so many ranks go to the scheduler, where its home is another one.
  void ForwardLogs(uint32_t ranks);
  std::string RunDir() const;
  std::string AttemptDir() const;
  Instant Now() const { return around_.clock->Now(); }

  wire::Grant grant_;
  AttemptSurroundings around_;
  Meter meter_;

 private:
  std::optional<wire::Stop> stop_;
  int64_t kill_at_ = 0;  // monotonic; 0: not set
  uint64_t finished_request_ = 0;
  std::unique_ptr<LogForwarder> logs_;  // null: the scheduler has them where they are written
  bool reported_ = false;
  int64_t logs_until_ = 0;  // monotonic; once it is reported
  bool over_ = false;
};

// The end reason for an error of the worker's own doing.
EndReason EndReasonOfError(const Error& error);

}  // namespace lorry
