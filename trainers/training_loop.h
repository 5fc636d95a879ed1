// The loop of a run: turns its trainings, one or a sweep's many, and keeps their checkpoints.
//
// Each round: every training that is not at its end makes one turn, in their order; then, where one of them asks for it or the
// worker wants to stop, one checkpoint holds the states of all. Trainings share the base's weights, the lanes and the rows;
// nothing else, so that each gives the bytes that it gives alone. One of several whose loss is no number ends by itself (a grid
// of learning rates reaches too far by intention); when the run goes on from a checkpoint it comes to the same end again.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "trainers/checkpoint.h"
#include "trainers/progress.h"
#include "trainers/rank_group.h"
#include "trainers/trainer.h"

namespace lorry::trainers {

enum class TrainingEnd { kFinished, kStoppedOnRequest };

class TrainingLoop {
 public:
  // All outlive the loop. REQUIRES: at least one trainer; all agree on the checkpoint options.
  TrainingLoop(std::vector<Trainer*> trainers, RankGroup& group, Progress& progress, std::string run_dir);

  // Collective. Takes over the checkpoint `wanted` (FindResumePoint), where there is one: rank 0 chooses and reads.
  Status Resume(const std::string& wanted);

  // Collective. Runs to the last step of all, or until the worker asks for a stop; the last thing it leaves is a checkpoint.
  // Afterwards each model holds the values that go out: the last ones, or with keep_best those of the best evaluation. kData: a
  // loss that is not a number, with the rows of its step, in all trainings.
  Result<TrainingEnd> Run();
  // Why training `index` ended early; null where it did not.
  const Error* fault(size_t index) const { return faults_[index] ? &*faults_[index] : nullptr; }

 private:
  Status Begin();
  // Whether a checkpoint is due.
  Result<bool> Round();
  bool Over(size_t index) const { return faults_[index] || trainers_[index]->Finished(); }
  bool Finished() const;
  int64_t Step() const;  // of the training that is farthest
  Status Checkpoint();
  Status Prune();
  Status TakeBestValues();

  std::vector<Trainer*> trainers_;
  std::vector<std::optional<Error>> faults_;  // of each
  RankGroup& group_;
  Progress& progress_;
  const std::string run_dir_;
  CheckpointStore checkpoints_;
  std::set<int64_t> written_;  // checkpoints known to be whole
};

}  // namespace lorry::trainers
