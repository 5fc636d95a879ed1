#include "trainers/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/files.h"

namespace lorry::trainers {
namespace {

std::vector<float> OnHost(const at::Tensor& values) {
  const at::Tensor host = values.cpu().contiguous();
  const float* first = host.const_data_ptr<float>();
  return {first, first + host.numel()};
}

at::Tensor AsTensor(const std::vector<float>& values) {
  return at::from_blob(const_cast<float*>(values.data()), {static_cast<int64_t>(values.size())}, at::kFloat);
}

Digest DigestOf(const at::Tensor& values) {
  const at::Tensor host = values.cpu();
  return Sha256Of(
      {reinterpret_cast<const char*>(host.const_data_ptr<float>()), static_cast<size_t>(host.numel()) * sizeof(float)});
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool Due(std::optional<int64_t> every, int64_t step) { return every && step % *every == 0; }

}  // namespace

Trainer::Trainer(TrainerParts parts)
    : parts_(std::move(parts)),
      plan_(parts_.training.Sizes(), parts_.options.batches),
      optimizer_({.weight_decay = parts_.options.weight_decay}, parts_.model.values().numel(), parts_.model.values().device()),
      buffers_(parts_.model.values().numel(), parts_.model.values().device()) {
  if (parts_.options.loraplus_lr_ratio) rate_groups_ = parts_.model.RateGroups(*parts_.options.loraplus_lr_ratio);
  schedule_.kind = parts_.options.schedule;
  schedule_.peak = parts_.options.learning_rate;
  schedule_.total_steps = plan_.TotalSteps(parts_.options.epochs, parts_.options.max_steps);
  schedule_.warmup_steps = WarmupSteps(parts_.options.warmup_ratio, schedule_.total_steps);
}

Status Trainer::Restore(const TrainingState& state) {
  const int64_t length = parts_.model.values().numel();
  if (static_cast<int64_t>(state.values.size()) != length) {
    return MakeError(ErrorCode::kData, fmt::format("{}: an adapter of {} values; this job's has {}",
                                                   CheckpointStore::RelativePath(state.step), state.values.size(), length));
  }
  TakeValues(state.values);
  optimizer_.Restore(state.optimizer_updates, AsTensor(state.first_moment), AsTensor(state.second_moment));
  state_ = state;
  state_.values.clear();
  state_.first_moment.clear();
  state_.second_moment.clear();
  return OkStatus();
}

Status Trainer::Begin() {
  if (parts_.group.rank() == 0) {
    LORRY_TRY(MakeDirectories(parts_.log_dir));
    LORRY_ASSIGN_OR_RETURN(StepLog log, StepLog::Open(parts_.log_dir + "/steps.log"));
    log_.emplace(std::move(log));
  }
  LORRY_ASSIGN_OR_RETURN(last_known_step_, parts_.group.Largest(log_ ? log_->last_known_step() : 0));
  return OkStatus();
}

Status Trainer::Turn() {
  parts_.progress.Enter(state_.step < last_known_step_ ? Phase::kRecomputed : Phase::kProductive);
  LORRY_TRY(OneStep());
  return EvaluateIfDue();
}

Status Trainer::OneStep() {
  const auto start = std::chrono::steady_clock::now();
  const Result<PlannedStep> planned = plan_.StepAt(state_.cursor);
  if (!planned.ok()) return InData(planned.error());
  const PlannedStep& step = *planned;
  at::Tensor gradient;
  LORRY_ASSIGN_OR_RETURN(const LossSum sum, ComputeGradient(step, &gradient));

  const double loss = sum.loss / static_cast<double>(sum.target_tokens);
  gradient.div_(static_cast<double>(sum.target_tokens));
  const double norm = ClipByNorm(gradient, parts_.options.max_grad_norm);
  if (!std::isfinite(loss) || !std::isfinite(norm)) return NotANumber(step, loss, norm);

  const double rate = schedule_.AtStep(state_.step);
  optimizer_.Update(parts_.model.values(), gradient, rate, rate_groups_);
  parts_.model.ValuesChanged();
  buffers_.Give(std::move(gradient));
  ++state_.step;
  state_.cursor = step.after;
  last_loss_ = loss;

  const StepRecord record{state_.step, loss, norm, rate, step.tokens, step.loss_tokens, DigestOf(parts_.model.values())};
  return LogStep(record, SecondsSince(start));
}

// The gradient of the summed loss over all micro-batches of the step, on every rank.
Result<LossSum> Trainer::ComputeGradient(const PlannedStep& step, at::Tensor* gradient) {
  const auto count = static_cast<int64_t>(step.micro_batches.size());
  const MicroBatchRange mine = MicroBatchesOfRank(count, parts_.group.rank(), parts_.group.size());
  OrderedSum sum(count, &buffers_);
  std::vector<LossSum> losses(static_cast<size_t>(count));
  LORRY_TRY(parts_.lanes.ForEach(mine.first, mine.last, [&](int64_t i) -> Status {
    at::Tensor mine_alone = buffers_.Take();
    const DropoutKey draw{parts_.options.seed, static_cast<uint64_t>(state_.step), static_cast<uint64_t>(i)};
    LORRY_ASSIGN_OR_RETURN(losses[i],
                           parts_.model.ForwardBackward(parts_.training.Pack(step.micro_batches[i]), mine_alone, draw));
    sum.AddLeaf(i, std::move(mine_alone));
    return OkStatus();
  }));
  LORRY_ASSIGN_OR_RETURN(*gradient, SumOverRanks(parts_.group, sum, count, buffers_));
  return AddInOrder(parts_.group, losses);
}

Error Trainer::InData(Error error) const {
  error.file = parts_.training.file;
  error.message = fmt::format("step {}: {}", state_.step + 1, error.message);
  return error;
}

Error Trainer::NotANumber(const PlannedStep& step, double loss, double norm) const {
  std::string lines;
  for (const int64_t row : step.rows) lines += fmt::format("{}{}", lines.empty() ? "" : ", ", parts_.training.lines[row]);
  Error error = MakeError(ErrorCode::kData,
                          fmt::format("step {}: the loss is {} and the gradient's norm {}; rows of the step are on lines {}",
                                      state_.step + 1, loss, norm, lines),
                          "look at these rows, or lower training.learning_rate; the last checkpoint is kept");
  error.file = parts_.training.file;
  return error;
}

Status Trainer::LogStep(const StepRecord& record, double seconds) {
  if (parts_.group.rank() != 0) return OkStatus();
  const StepRecord* before = log_->Find(record.step);
  if (before != nullptr && before->adapter != record.adapter) {
    parts_.progress.Log("error", fmt::format("step {} gave another adapter than in an earlier attempt", record.step));
  }
  LORRY_TRY(log_->Append(record));
  parts_.progress.Step(record, schedule_.total_steps, seconds, parts_.point);
  return OkStatus();
}

Status Trainer::EvaluateIfDue() {
  new_best_ = false;
  const bool last = state_.step >= schedule_.total_steps;
  if (parts_.held_out == nullptr || !(last || Due(parts_.options.eval_every_steps, state_.step))) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const EvaluationRecord record,
                         parts_.held_out->Evaluate(parts_.model, parts_.group, parts_.lanes, state_.step));
  if (!std::isfinite(record.loss)) {
    return MakeError(ErrorCode::kData, fmt::format("step {}: the held-out loss is {}", state_.step, record.loss),
                     "lower training.learning_rate; the last checkpoint is kept");
  }
  last_held_out_ = record.loss;
  new_best_ = state_.best.step == 0 || record.loss < state_.best.loss;
  if (new_best_) {
    state_.best = {record.step, record.loss, 0};
  } else {
    ++state_.best.worse_since;
  }
  if (parts_.group.rank() == 0) {
    LORRY_TRY(log_->Append(record));
    parts_.progress.Evaluation(record, parts_.point);
  }
  return OkStatus();
}

bool Trainer::StoppedEarly() const { return parts_.options.patience && state_.best.worse_since >= *parts_.options.patience; }

bool Trainer::CheckpointDue() const {
  const bool best = new_best_ && parts_.options.keep_best;
  return best || Finished() || Due(parts_.options.checkpoint_every_steps, state_.step);
}

bool Trainer::GivesEarlierValues() const {
  return parts_.options.keep_best && state_.best.step != 0 && state_.best.step != state_.step;
}

Result<double> Trainer::HeldOutLoss() {
  if (parts_.options.keep_best && state_.best.step != 0) return state_.best.loss;
  if (last_held_out_) return *last_held_out_;
  LORRY_ASSIGN_OR_RETURN(const EvaluationRecord record,
                         parts_.held_out->Evaluate(parts_.model, parts_.group, parts_.lanes, state_.step));
  return record.loss;
}

void Trainer::TakeValues(const std::vector<float>& values) {
  parts_.model.values().copy_(AsTensor(values));
  parts_.model.ValuesChanged();
}

Status Trainer::SyncLog() { return log_->Sync(); }

Status Trainer::WriteTrace() { return log_->WriteTrace(TracePath(), state_.step); }

SavedState Trainer::Snapshot() const {
  TrainingState state = state_;
  state.optimizer_updates = optimizer_.updates();
  state.values = OnHost(parts_.model.values());
  state.first_moment = OnHost(optimizer_.first_moment());
  state.second_moment = OnHost(optimizer_.second_moment());
  return {std::move(state), parts_.identity};
}

}  // namespace lorry::trainers
