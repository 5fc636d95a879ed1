#include "trainers/training_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/files.h"

namespace lorry::trainers {

TrainingLoop::TrainingLoop(std::vector<Trainer*> trainers, RankGroup& group, Progress& progress, std::string run_dir)
    : trainers_(std::move(trainers)),
      faults_(trainers_.size()),
      group_(group),
      progress_(progress),
      run_dir_(std::move(run_dir)),
      checkpoints_(run_dir_) {}

Status TrainingLoop::Resume(const std::string& wanted) {
  std::string bytes;
  if (group_.rank() == 0) {
    std::vector<RunIdentity> identities;
    for (const Trainer* trainer : trainers_) identities.push_back(trainer->identity());
    LORRY_ASSIGN_OR_RETURN(std::optional<ResumePoint> point,
                           FindResumePoint(checkpoints_, wanted, identities, trainers_.front()->options().other_device,
                                           [&](const std::string& text) { progress_.Log("warning", text); }));
    if (point) bytes = std::move(point->bytes);
    if (!point && !wanted.empty()) {
      progress_.Log("warning", "no whole checkpoint up to " + wanted + " in " + run_dir_ + ": beginning again");
    }
  }
  LORRY_ASSIGN_OR_RETURN(bytes, group_.Broadcast(bytes));
  if (bytes.empty()) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const std::vector<SavedState> states, DecodeStates(bytes, "checkpoint"));
  for (size_t i = 0; i < trainers_.size(); ++i) LORRY_TRY(trainers_[i]->Restore(states[i].state));
  progress_.Log("info", fmt::format("going on from step {}", Step()));
  return OkStatus();
}

Result<TrainingEnd> TrainingLoop::Run() {
  LORRY_TRY(Begin());
  while (!Finished()) {
    LORRY_ASSIGN_OR_RETURN(const bool due, Round());
    LORRY_ASSIGN_OR_RETURN(const int64_t stop, group_.Largest(progress_.stop_wanted() ? 1 : 0));
    if (due || stop != 0) LORRY_TRY(Checkpoint());
    if (stop != 0 && !Finished()) return TrainingEnd::kStoppedOnRequest;
  }
  // A trace may be older than the last checkpoint, where the run was cut between the two.
  if (group_.rank() == 0) {
    for (Trainer* trainer : trainers_) LORRY_TRY(trainer->WriteTrace());
  }
  LORRY_TRY(TakeBestValues());
  return TrainingEnd::kFinished;
}

Status TrainingLoop::Begin() {
  for (Trainer* trainer : trainers_) LORRY_TRY(trainer->Begin());
  if (group_.rank() != 0) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, checkpoints_.Steps());
  // Later ones than the one that the run goes on from are written again.
  for (const int64_t step : steps) {
    if (step <= Step()) written_.insert(step);
  }
  return OkStatus();
}

Result<bool> TrainingLoop::Round() {
  bool due = false;
  for (size_t i = 0; i < trainers_.size(); ++i) {
    if (Over(i)) continue;
    if (const Status turned = trainers_[i]->Turn(); !turned.ok()) {
      if (turned.error().code != ErrorCode::kData || trainers_.size() == 1) return turned.error();
      faults_[i] = turned.error();  // the same on every rank: all of them see the same sums
      progress_.Log("error", fmt::format("point {} ends: {}", i, turned.error().Format()));
      continue;
    }
    due = due || trainers_[i]->CheckpointDue();
  }
  const bool all_failed = std::all_of(faults_.begin(), faults_.end(), [](const auto& fault) { return fault.has_value(); });
  if (all_failed) return *faults_.front();
  return due;
}

bool TrainingLoop::Finished() const {
  for (size_t i = 0; i < trainers_.size(); ++i) {
    if (!Over(i)) return false;
  }
  return true;
}

int64_t TrainingLoop::Step() const {
  int64_t step = 0;
  for (const Trainer* trainer : trainers_) step = std::max(step, trainer->steps_done());
  return step;
}

Status TrainingLoop::Checkpoint() {
  progress_.Enter(Phase::kCheckpoint);
  if (group_.rank() == 0) {
    std::vector<SavedState> states;
    for (Trainer* trainer : trainers_) {
      LORRY_TRY(trainer->SyncLog());
      states.push_back(trainer->Snapshot());
    }
    LORRY_ASSIGN_OR_RETURN(const WrittenCheckpoint written, checkpoints_.Write(std::move(states)));
    for (Trainer* trainer : trainers_) LORRY_TRY(trainer->WriteTrace());
    written_.insert(written.step);
    progress_.Checkpoint(written);
    LORRY_TRY(Prune());
  }
  // Nobody runs ahead of a checkpoint that may fail.
  return group_.Barrier();
}

// Keeps the newest keep_last, the best of each training, and everything from the newest one on that the scheduler has on record.
Status TrainingLoop::Prune() {
  const int64_t committed = progress_.committed_step();
  std::set<int64_t> keep;
  int64_t newest = 0;
  for (auto step = written_.rbegin(); step != written_.rend(); ++step) {
    const bool on_record = *step <= committed;
    if (newest < trainers_.front()->options().keep_last || !on_record) keep.insert(*step);
    newest += on_record;
  }
  for (const Trainer* trainer : trainers_) {
    if (trainer->options().keep_best && written_.contains(trainer->best().step)) keep.insert(trainer->best().step);
  }
  written_ = keep;
  return checkpoints_.RemoveAllBut(keep);
}

Status TrainingLoop::TakeBestValues() {
  std::map<int64_t, std::vector<SavedState>> read;  // by step
  for (size_t i = 0; i < trainers_.size(); ++i) {
    if (faults_[i] || !trainers_[i]->GivesEarlierValues()) continue;
    const int64_t step = trainers_[i]->best().step;
    if (!read.contains(step)) {
      std::string bytes;
      if (group_.rank() == 0) {
        LORRY_ASSIGN_OR_RETURN(bytes, checkpoints_.Read(step));
      }
      LORRY_ASSIGN_OR_RETURN(bytes, group_.Broadcast(bytes));
      LORRY_ASSIGN_OR_RETURN(read[step], DecodeStates(bytes, CheckpointStore::RelativePath(step)));
    }
    trainers_[i]->TakeValues(read[step][i].state.values);
  }
  return OkStatus();
}

}  // namespace lorry::trainers
