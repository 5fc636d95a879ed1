// Checkpoints: all that a run needs to go on as if it had not been interrupted, to the last bit. Page:
// docs/formats/checkpoint.md.
//
//   RUN_DIR/checkpoints/step-00000020/state.h5   values, optimizer, cursor, early stopping, and what the run is of (RunIdentity);
//                                                of a sweep all that once for each point
//   RUN_DIR/checkpoints/step-00000020/COMPLETE   the marker: length and SHA-256 of state.h5; a checkpoint is there when it is
//
// Written in this order: state.h5 in a folder of a temporary name, fsync, read back, compared and decoded, folder renamed,
// marker. A crash at any point leaves the earlier checkpoints as they were; what is left of an unfinished one is removed by the
// next write. One writer: rank 0.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "trainers/batch_plan.h"
#include "trainers/run_identity.h"

namespace lorry::trainers {

struct BestEvaluation {
  int64_t step = 0;  // 0: none yet
  double loss = 0;
  int64_t worse_since = 0;  // evaluations since then
};

struct TrainingState {
  int64_t step = 0;  // steps done
  DataCursor cursor;
  BestEvaluation best;
  int64_t optimizer_updates = 0;
  std::vector<float> values;  // the adapter, in the order of lora/adapter.h
  std::vector<float> first_moment;
  std::vector<float> second_moment;
};

// One training, and what it is of.
struct SavedState {
  TrainingState state;
  RunIdentity identity;
};

// The bytes of state.h5: the same for the same states. Of one, itself; of a sweep's points, in their order, each one's bytes
// within. REQUIRES: at least one.
Result<std::string> EncodeStates(const std::vector<SavedState>& states);
// kData where the bytes are not whole or of another version.
Result<std::vector<SavedState>> DecodeStates(std::string_view bytes, const std::string& name);

struct WrittenCheckpoint {
  int64_t step = 0;
  std::string path;  // relative to the run's folder
  Digest digest;     // of state.h5
};

class CheckpointStore {
 public:
  explicit CheckpointStore(std::string run_dir) : run_dir_(std::move(run_dir)) {}

  // "checkpoints/step-00000020".
  static std::string RelativePath(int64_t step);

  // At the latest of the states' steps. kStorage where the disk is full or fails; nothing is left behind then. The states are
  // given up once they are encoded: with large adapters a run's memory is at its peak here.
  Result<WrittenCheckpoint> Write(std::vector<SavedState> states);

  // The bytes of state.h5, checked against the marker. kNotFound without a marker, kData where it is truncated or altered.
  Result<std::string> Read(int64_t step) const;

  // Steps that have a marker, newest first.
  Result<std::vector<int64_t>> Steps() const;

  // Removes all checkpoints but those in `keep`, and what unfinished writes left behind.
  Status RemoveAllBut(const std::set<int64_t>& keep) const;

 private:
  std::string run_dir_;
};

// The checkpoint to go on from: `wanted` (a path relative to the run's folder; empty: the newest), or where that is damaged the
// newest whole one before it; each one passed over is told to `say`. nullopt: begin at the beginning.
// kSpec where the checkpoint is of another job, or of another device kind and the job does not allow that. `identities`: of each
// training of the job.
struct ResumePoint {
  std::vector<SavedState> states;
  std::string bytes;  // of state.h5
};
Result<std::optional<ResumePoint>> FindResumePoint(const CheckpointStore& store, const std::string& wanted,
                                                   const std::vector<RunIdentity>& identities, bool other_device,
                                                   const std::function<void(const std::string&)>& say);

}  // namespace lorry::trainers
