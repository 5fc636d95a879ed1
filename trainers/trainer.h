// The training loop.
//
// Each turn: the plan names the rows of the step; the lanes of this rank compute their micro-batches; the gradients of all ranks
// are added over one fixed tree; every rank clips and updates its own copy of the adapter alike; the step is logged with the
// adapter's digest. At a step's edge, in this order: evaluate, checkpoint, stop.
//
// Everything that a later step depends on is in TrainingState, so a run that goes on from a checkpoint gives the same bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "base/result.h"
#include "trainers/adamw.h"
#include "trainers/batch_plan.h"
#include "trainers/checkpoint.h"
#include "trainers/dataset.h"
#include "trainers/held_out.h"
#include "trainers/lanes.h"
#include "trainers/learning_rate.h"
#include "trainers/ordered_sum.h"
#include "trainers/progress.h"
#include "trainers/rank_group.h"
#include "trainers/step_log.h"
#include "trainers/trained_model.h"
#include "trainers/training_options.h"

namespace lorry::trainers {

// What a loop works with; all of it outlives the loop.
struct TrainerParts {
  TrainedModel& model;
  RankGroup& group;
  Lanes& lanes;
  Progress& progress;
  const Dataset& training;
  const HeldOut* held_out = nullptr;  // null: no evaluation
  std::string run_dir;
  RunIdentity identity;
  TrainingOptions options;
};

enum class TrainingEnd { kFinished, kStoppedOnRequest };

class Trainer {
 public:
  explicit Trainer(TrainerParts parts);

  // Takes over the state of a checkpoint. kData where it is of other shapes.
  Status Restore(const TrainingState& state);

  // Collective. Runs to the last step, to early stopping, or until the worker asks for a stop; the last thing it leaves is a
  // checkpoint. Afterwards the model holds the values that go out: the last ones, or with keep_best those of the best
  // evaluation. kData: a loss that is not a number, with the rows of its step.
  Result<TrainingEnd> Run();

  std::string TracePath() const { return parts_.run_dir + "/trace.h5"; }
  int64_t steps_done() const { return state_.step; }
  int64_t total_steps() const { return schedule_.total_steps; }
  const BestEvaluation& best() const { return state_.best; }
  std::optional<double> last_loss() const { return last_loss_; }

 private:
  Status Begin();
  Status OneStep();
  Result<LossSum> ComputeGradient(const PlannedStep& step, at::Tensor* gradient);
  Error InData(Error error) const;
  Error NotANumber(const PlannedStep& step, double loss, double norm) const;
  Status LogStep(const StepRecord& record, double seconds);
  Status EvaluateIfDue();
  Status CheckpointIfDue(bool stopping);
  Status PruneCheckpoints();
  Status TakeBestValues();
  bool StoppedEarly() const;
  bool Finished() const { return state_.step >= schedule_.total_steps || StoppedEarly(); }
  TrainingState Snapshot() const;

  TrainerParts parts_;
  BatchPlan plan_;
  LearningRateSchedule schedule_;
  AdamW optimizer_;
  std::vector<RateGroup> rate_groups_;  // empty: one rate for all
  GradientBuffers buffers_;
  CheckpointStore checkpoints_;
  std::optional<StepLog> log_;   // rank 0 only
  TrainingState state_;          // values and moments are in the model and the optimizer, not here
  std::set<int64_t> written_;    // checkpoints known to be whole
  int64_t last_known_step_ = 0;  // of an earlier attempt
  bool new_best_ = false;        // the evaluation of this step is the best so far
  std::optional<double> last_loss_;
};

}  // namespace lorry::trainers
