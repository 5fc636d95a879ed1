// What a rank tells its worker, and what the worker asks of it: the lines of base/task_contract.h.
//
// Threads: the loop calls from its main thread; one thread of its own reads the worker's lines. The end of that stream means that
// the worker is gone: the process ends at once.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/task_contract.h"
#include "trainers/checkpoint.h"
#include "trainers/step_log.h"
#include "trainers/training_options.h"

namespace lorry::trainers {

enum class Phase { kStartup, kProductive, kRecomputed, kCheckpoint, kGangWait };

class Progress {
 public:
  // Only rank 0 tells of steps, evaluations, checkpoints and outputs; phases are told by every rank.
  Progress(TaskChannel channel, int rank);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  void Enter(Phase phase);  // told where it is another than before
  // `point`: which of a sweep's trainings; none for a lone one.
  void Step(const StepRecord& record, int64_t steps, double seconds, std::optional<int> point);
  void Evaluation(const EvaluationRecord& record, std::optional<int> point);
  void Checkpoint(const WrittenCheckpoint& checkpoint);
  void Preparing(const std::string& what, int64_t done);
  void Output(const std::string& name, const std::string& path);
  void Facts(const RunIdentity& identity, const TrainingOptions& options);
  void Log(const std::string& level, const std::string& text);
  void Failed(const Error& error, TaskExit exit);
  void Done();

  // The worker asked to stop after a checkpoint.
  bool stop_wanted() const { return shared_->stop_wanted; }
  // The newest checkpoint that the scheduler has on record; without a worker every written one counts as such.
  int64_t committed_step() const { return shared_->committed_step; }

 private:
  // Outlives the object where the reading thread does.
  struct Shared {
    explicit Shared(TaskChannel c) : channel(std::move(c)) {}
    TaskChannel channel;
    std::atomic<bool> stop_wanted = false;
    std::atomic<int64_t> committed_step = 0;
    std::atomic<bool> closing = false;  // the last line is out: the worker may close first
  };
  static void Listen(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;
  const int rank_;
  std::optional<Phase> phase_;
};

}  // namespace lorry::trainers
