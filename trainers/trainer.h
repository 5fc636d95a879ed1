// One adapter's training, step by step; training_loop.h turns it, alone or beside others on the same base.
//
// A turn: the plan names the rows of the step; the lanes of this rank compute their micro-batches; the gradients of all ranks
// are added over one fixed tree; every rank clips and updates its own copy of the adapter alike; the step is logged with the
// adapter's digest; an evaluation follows where it is due.
//
// Everything that a later step depends on is in TrainingState, so a training that goes on from a checkpoint gives the same bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

// What a training works with; all of it outlives the trainer.
struct TrainerParts {
  TrainedModel& model;
  RankGroup& group;
  Lanes& lanes;
  Progress& progress;
  const Dataset& training;
  const HeldOut* held_out = nullptr;  // null: no evaluation
  std::string log_dir;                // steps.log and trace.h5 lie there
  RunIdentity identity;
  TrainingOptions options;
  std::optional<int> point;  // which of a sweep's trainings
};

// Threads: one, the rank's main thread. Begin and Turn are collective: every rank calls them in the same order.
class Trainer {
 public:
  explicit Trainer(TrainerParts parts);

  // Takes over the state of a checkpoint. kData where it is of other shapes.
  Status Restore(const TrainingState& state);

  Status Begin();  // before the first turn
  // One step. kData: a loss that is not a number, with the rows of its step. REQUIRES: not Finished().
  Status Turn();
  bool Finished() const { return state_.step >= schedule_.total_steps || StoppedEarly(); }

  // After a turn, whether the job asks for a checkpoint here: by its count of steps, for a new best, at the end.
  bool CheckpointDue() const;
  SavedState Snapshot() const;
  // Rank 0: every step so far lies on the disk; and the trace up to here.
  Status SyncLog();
  Status WriteTrace();
  std::string TracePath() const { return parts_.log_dir + "/trace.h5"; }

  // Afterwards the model holds these values: those of the best evaluation, where they are to go out.
  void TakeValues(const std::vector<float>& values);

  const TrainingOptions& options() const { return parts_.options; }
  const RunIdentity& identity() const { return parts_.identity; }
  int64_t steps_done() const { return state_.step; }
  int64_t total_steps() const { return schedule_.total_steps; }
  const BestEvaluation& best() const { return state_.best; }
  // Whether the values of the best evaluation go out and are not the present ones.
  bool GivesEarlierValues() const;
  // Collective. The held-out loss of the values that go out, once they are taken; evaluates where no evaluation of this attempt
  // knows it. REQUIRES: held-out rows.
  Result<double> HeldOutLoss();
  std::optional<double> last_loss() const { return last_loss_; }

 private:
  Status OneStep();
  Result<LossSum> ComputeGradient(const PlannedStep& step, at::Tensor* gradient);
  Error InData(Error error) const;
  Error NotANumber(const PlannedStep& step, double loss, double norm) const;
  Status LogStep(const StepRecord& record, double seconds);
  Status EvaluateIfDue();
  bool StoppedEarly() const;

  TrainerParts parts_;
  BatchPlan plan_;
  LearningRateSchedule schedule_;
  AdamW optimizer_;
  std::vector<RateGroup> rate_groups_;  // empty: one rate for all
  GradientBuffers buffers_;
  std::optional<StepLog> log_;   // rank 0 only
  TrainingState state_;          // values and moments are in the model and the optimizer, not here
  int64_t last_known_step_ = 0;  // of an earlier attempt
  bool new_best_ = false;        // the evaluation of this step is the best so far
  std::optional<double> last_loss_, last_held_out_;
};

}  // namespace lorry::trainers
