// The ranks' logs on their way to a scheduler with a home of its own: what stands in the files beyond what it has acknowledged,
// at most a window at a time, so that logs never hold up a heartbeat. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/wire.h"
#include "worker/outbox.h"

namespace lorry {

class LogForwarder {
 public:
  LogForwarder(wire::AttemptRef attempt, std::string log_dir, uint32_t ranks, Outbox* outbox);

  // Says what is new, where nothing is on its way. Called now and then.
  void Forward(int64_t monotonic_ms);
  void OnAck(const wire::LogAck& ack);
  // The scheduler has acknowledged all that stands in the files.
  bool AllThere() const;

 private:
  std::string PathOf(uint32_t rank) const;
  struct Rank {
    uint64_t acknowledged = 0;
    uint64_t said = 0;
    int64_t said_at = 0;
  };
  wire::AttemptRef attempt_;
  std::string log_dir_;
  std::map<uint32_t, Rank> ranks_;
  Outbox* outbox_;
};

}  // namespace lorry
