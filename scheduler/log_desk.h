// What the ranks wrote, kept in the home: runs/RUN/attempts/N/rank-K.log, and the lines of runs/RUN/metrics.jsonl. A worker with
// a home of its own sends its bytes; one that shares the scheduler's has written them there itself. Logs are for people: they are
// not part of any promise of durability. Functions over files; any thread, one writer of a file at a time.
#pragma once

#include <string>

#include "base/result.h"
#include "base/wire_client.h"
#include "base/wire_worker.h"

namespace lorry {

class LogDesk {
 public:
  explicit LogDesk(std::string home) : home_(std::move(home)) {}

  // Appends what is new of these bytes and says where to go on. `run` and `attempt` must be known to the scheduler.
  Result<wire::LogAck> Take(const wire::LogBytes& bytes);
  void AppendMetrics(const RunId& run, const std::string& lines);
  // Up to max_bytes from the offset; empty where there are none yet.
  std::string Read(const RunId& run, AttemptNumber attempt, uint32_t rank, uint64_t offset, uint32_t max_bytes) const;
  // The last max_bytes, or a little less: from the beginning of a line, where one begins in them.
  std::string Tail(const RunId& run, AttemptNumber attempt, uint32_t rank, uint32_t max_bytes) const;

 private:
  std::string PathOf(const RunId& run, AttemptNumber attempt, uint32_t rank) const;
  std::string home_;
};

}  // namespace lorry
