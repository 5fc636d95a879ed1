// steps.log: one record a step, appended as the run goes, whole after any crash; and trace.h5, which is made from it.
//
// Records are those of base/journal.h, each a JSON object. A run that was resumed does some steps again and appends them again;
// the last record of a step counts, and the adapter's digests of both must be equal: they are compared as they come.
// Page: docs/formats/checkpoint.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/hash.h"
#include "base/journal.h"
#include "base/result.h"

namespace lorry::trainers {

struct StepRecord {
  int64_t step = 0;  // from 1
  double loss = 0;   // mean over the step's loss tokens, nats
  double grad_norm = 0;
  double learning_rate = 0;
  int64_t tokens = 0;
  int64_t loss_tokens = 0;
  Digest adapter;  // SHA-256 of the adapter's fp32 values after the step, in the order of lora/adapter.h
};

struct EvaluationRecord {
  int64_t step = 0;
  double loss = 0;
  int64_t tokens = 0;  // loss tokens
};

class StepLog {
 public:
  // Opens or makes the log of a run; a torn tail is cut.
  static Result<StepLog> Open(const std::string& path);

  // The last step of which an earlier attempt left a record; 0: none.
  int64_t last_known_step() const { return last_known_step_; }
  // What the log says of a step; null: nothing.
  const StepRecord* Find(int64_t step) const;

  Status Append(const StepRecord& record);
  Status Append(const EvaluationRecord& record);
  Status Sync() { return writer_.Sync(); }

  // Writes trace.h5 of all steps up to `last_step`: temporary name, fsync, rename.
  Status WriteTrace(const std::string& path, int64_t last_step) const;

 private:
  explicit StepLog(JournalWriter writer) : writer_(std::move(writer)) {}
  JournalWriter writer_;
  std::map<int64_t, StepRecord> steps_;
  std::map<int64_t, EvaluationRecord> evaluations_;
  int64_t last_known_step_ = 0;
};

}  // namespace lorry::trainers
