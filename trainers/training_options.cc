#include "trainers/training_options.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "configs/job_spec.h"

namespace lorry::trainers {
namespace {

// A micro-batch is large enough to keep the products busy, small enough for the memory: a core, a GPU.
constexpr int64_t kCpuMicroBatchTokens = 1024;
constexpr int64_t kGpuMicroBatchTokens = 8192;

ScheduleKind ScheduleOf(LrScheduler scheduler) {
  switch (scheduler) {
    case LrScheduler::kLinear:
      return ScheduleKind::kLinear;
    case LrScheduler::kCosine:
      return ScheduleKind::kCosine;
    case LrScheduler::kConstant:
      return ScheduleKind::kConstant;
  }
  return ScheduleKind::kConstant;
}

BatchPlanOptions BatchesOf(const FinetuneSpec& spec, bool on_gpu) {
  BatchPlanOptions batches;
  batches.tokens_per_step = spec.training.tokens_per_step.value_or(0);
  batches.rows_per_micro_batch = spec.training.rows_per_micro_batch.value_or(1);
  batches.micro_batches_per_step = spec.training.micro_batches_per_step.value_or(1);
  batches.tokens_per_micro_batch = on_gpu ? kGpuMicroBatchTokens : kCpuMicroBatchTokens;
  batches.packing = spec.dataset.packing;
  batches.shuffle = spec.dataset.shuffle;
  batches.seed = static_cast<uint64_t>(spec.training.seed);
  return batches;
}

}  // namespace

Result<TrainingOptions> TrainingOptionsOf(const nlohmann::json& job_json) {
  LORRY_ASSIGN_OR_RETURN(const JobSpec job, JobFromJson(job_json));
  const FinetuneSpec* spec = job.finetune();
  if (spec == nullptr) return MakeError(ErrorCode::kSpec, "kind " + std::string(job.kind()) + " is not a fine-tuning job");
  const TrainingSpec& training = spec->training;

  TrainingOptions options;
  options.on_gpu = job.resources.gpus.has_value();
  options.loss_on = WordOf(spec->dataset.loss_on);
  options.too_long = WordOf(spec->dataset.too_long);
  options.max_length = spec->dataset.max_length;
  options.val_fraction = spec->dataset.val_fraction;
  options.batches = BatchesOf(*spec, options.on_gpu);
  options.qlora = spec->adapter.type == AdapterType::kQlora;
  options.r = spec->adapter.r;
  options.alpha = spec->adapter.alpha;
  options.dropout = spec->adapter.dropout;
  options.rslora = spec->adapter.rslora;
  options.dora = spec->adapter.dora;
  options.rank_pattern.assign(spec->adapter.rank_pattern.begin(), spec->adapter.rank_pattern.end());
  options.alpha_pattern.assign(spec->adapter.alpha_pattern.begin(), spec->adapter.alpha_pattern.end());
  options.target_modules = spec->adapter.target_modules;
  options.base_name = spec->base_model;
  options.epochs = training.epochs;
  options.max_steps = training.max_steps;
  options.eval_every_steps = training.eval_every_steps;
  if (training.early_stopping) options.patience = training.early_stopping->patience;
  options.learning_rate = training.learning_rate;
  options.loraplus_lr_ratio = training.loraplus_lr_ratio;
  options.schedule = ScheduleOf(training.lr_scheduler);
  options.warmup_ratio = training.warmup_ratio;
  options.weight_decay = training.weight_decay;
  options.max_grad_norm = training.max_grad_norm;
  options.bf16 = training.precision == TrainPrecision::kBf16;
  options.seed = static_cast<uint64_t>(training.seed);
  options.checkpoint_every_steps = spec->checkpoint.every_steps;
  options.keep_last = spec->checkpoint.keep_last;
  options.keep_best = spec->checkpoint.keep_best;
  options.other_device = job.retry.other_device;
  return options;
}

Result<std::string> DecidingPartOf(const nlohmann::json& job_json) {
  LORRY_ASSIGN_OR_RETURN(const JobSpec job, JobFromJson(job_json));
  nlohmann::json part = ToJson(job);
  for (const char* key :
       {"name", "project", "labels", "resources", "limits", "retry", "priority", "after", "output", "checkpoint"}) {
    part.erase(key);
  }
  // Where the files lie does not matter: their digests stand beside this text in the checkpoint.
  for (const char* key : {"path", "validation"}) part["dataset"].erase(key);
  part["adapter"].erase("init_from");
  part["threads_per_lane"] = job.resources.threads_per_lane;
  return CanonicalJson(part);
}

}  // namespace lorry::trainers
