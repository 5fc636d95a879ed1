// An attempt of `kind: command`: one program, or the elements of an array that this worker has leased, as many at a time as the
// granted devices hold. `argv: [":"]` is the built-in no-op: an element that starts and ends without a process.
//
// An element's start and end are reported in bundles, at most a few on their way; an element that was not reported when the
// worker dies is leased again by the scheduler. While there is nothing to run the devices are metered as idle.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/process.h"
#include "configs/job_spec.h"
#include "worker/attempt.h"
#include "worker/held_numbers.h"
#include "worker/held_processes.h"

namespace lorry {

class CommandAttempt : public Attempt {
 public:
  CommandAttempt(wire::Grant grant, const std::vector<MeteredDevice>& devices, const AttemptSurroundings& around)
      : Attempt(std::move(grant), devices, around), question_(around.outbox) {}

  void Begin() override;
  void OnChildExit() override;
  bool OnMessage(const wire::Message& message) override;
  void OnTick(int64_t monotonic_ms) override;

 protected:
  void AskToEnd(bool now) override;
  void KillAll() override;

 private:
  // One element's room: resources.cpus (or gpus) of the job.
  struct Slot {
    std::optional<ChildProcess> process;
    uint64_t element = 0;
    bool told_to_end = false;  // a stop's signal was sent to it: how it ends is the stop's doing
  };

  bool is_array() const { return grant_.array > 0; }
  bool is_idle() const { return running_ == 0; }
  // Goes on as far as it can: starts, reports, asks for more, finishes.
  void Pump();
  void RunNoOps();
  void StartElements();
  Status StartIn(size_t slot, uint64_t element);
  void TakeEnds();
  void OnEnd(const Slot& slot, const ProcessEnd& end);
  void SayElements();
  void AskForMore();
  void FinishIfDone();
  uint64_t waiting() const;
  uint64_t TakeElement();

  CommandSpec command_;
  int64_t devices_per_slot_ = 1;
  std::optional<HeldProcesses> held_;
  std::vector<Slot> slots_;
  size_t running_ = 0;
  std::vector<ProcessEnd> single_end_;  // where it is no array
  bool single_told_to_end_ = false;
  uint64_t kills_before_ = 0;

  std::deque<wire::Range> leased_;  // not yet started
  bool no_more_ = false;
  LeaseQuestion question_;
  wire::ElementReports to_say_;
  std::map<uint64_t, std::vector<uint64_t>> said_;  // requests that wait for ElementsCommitted, and what has ended in them
  HeldNumbers elements_held_;
  std::map<uint64_t, int> lost_;  // element -> how often a signal from outside ended it
  uint64_t failed_ = 0;
  std::optional<wire::ElementEnd> first_failure_;
  std::optional<Error> cannot_start_;
};

}  // namespace lorry
