// Every key of a job: its name, where it goes, its range. The one list that reading, writing, checking and suggestions share.
#pragma once

#include <array>
#include <string_view>

#include "configs/field_reader.h"
#include "configs/job_spec.h"

namespace lorry {

constexpr std::array<std::string_view, 3> EnumWords(LengthPolicy) { return {"error", "truncate", "drop"}; }
constexpr std::array<std::string_view, 3> EnumWords(LossScope) { return {"completion", "assistant", "all"}; }
constexpr std::array<std::string_view, 2> EnumWords(AdapterType) { return {"lora", "qlora"}; }
constexpr std::array<std::string_view, 3> EnumWords(LrScheduler) { return {"linear", "cosine", "constant"}; }
constexpr std::array<std::string_view, 2> EnumWords(TrainPrecision) { return {"bf16", "fp32"}; }
constexpr std::array<std::string_view, 1> EnumWords(SweepMethod) { return {"grid"}; }
constexpr std::array<std::string_view, 2> EnumWords(SweepGoal) { return {"min", "max"}; }
constexpr std::array<std::string_view, 3> EnumWords(OnExceed) { return {"checkpoint_and_stop", "stop", "notify"}; }
constexpr std::array<std::string_view, 2> EnumWords(RowValidation) { return {"tolerant", "strict"}; }
constexpr std::array<std::string_view, 4> EnumWords(BatchStrategy) { return {"auto", "single", "map_reduce", "refine"}; }

inline constexpr double kMaxSeed = 9007199254740991;  // 2^53 - 1: exact in every JSON reader

template <class V>
void Describe(V& v, DatasetSpec& dataset) {
  v.Field("path", dataset.path, {.required = true, .form = TextForm::kPath});
  v.Field("validation", dataset.validation, {.form = TextForm::kPath});
  v.Field("val_fraction", dataset.val_fraction, {.min = 0, .max = 1, .above = true, .below = true});
  v.Field("max_length", dataset.max_length, {.min = 2, .max = 1 << 20});
  v.Field("too_long", dataset.too_long);
  v.Field("packing", dataset.packing);
  v.Field("shuffle", dataset.shuffle);
  v.Field("loss_on", dataset.loss_on);
}

template <class V>
void Describe(V& v, AdapterSpec& adapter) {
  v.Field("init_from", adapter.init_from, {.form = TextForm::kPath});
  v.Field("type", adapter.type);
  v.Field("r", adapter.r, {.min = 1, .max = 512});
  v.Field("alpha", adapter.alpha, {.min = 0, .max = 65536, .above = true});
  v.Field("dropout", adapter.dropout, {.min = 0, .max = 1, .below = true});
  v.Field("target_modules", adapter.target_modules, {.min_items = 1, .lone_word = "all-linear"});
  v.Field("rslora", adapter.rslora);
  v.Field("dora", adapter.dora);
  v.Field("rank_pattern", adapter.rank_pattern, {.min = 1, .max = 512});
  v.Field("alpha_pattern", adapter.alpha_pattern, {.min = 0, .max = 65536, .above = true});
}

template <class V>
void Describe(V& v, EarlyStoppingSpec& stopping) {
  v.Field("metric", stopping.metric);
  v.Field("patience", stopping.patience, {.min = 1, .max = 1000});
}

template <class V>
void Describe(V& v, TrainingSpec& training) {
  v.Field("epochs", training.epochs, {.min = 1, .max = 100000});
  v.Field("max_steps", training.max_steps, {.min = 1, .max = 1e9});
  v.Field("tokens_per_step", training.tokens_per_step, {.min = 1, .max = 1e9});
  v.Field("rows_per_micro_batch", training.rows_per_micro_batch, {.min = 1, .max = 1e6});
  v.Field("micro_batches_per_step", training.micro_batches_per_step, {.min = 1, .max = 1e6});
  v.Field("eval_every_steps", training.eval_every_steps, {.min = 1, .max = 1e9});
  v.Field("learning_rate", training.learning_rate, {.min = 0, .max = 1, .above = true, .suggest_e4 = true});
  v.Field("loraplus_lr_ratio", training.loraplus_lr_ratio, {.min = 1, .max = 1000});
  v.Field("lr_scheduler", training.lr_scheduler);
  v.Field("warmup_ratio", training.warmup_ratio, {.min = 0, .max = 1});
  v.Field("weight_decay", training.weight_decay, {.min = 0, .max = 1});
  v.Field("max_grad_norm", training.max_grad_norm, {.min = 0});
  v.Field("precision", training.precision);
  v.Field("seed", training.seed, {.min = 0, .max = kMaxSeed});
  v.Field("early_stopping", training.early_stopping);
}

template <class V>
void Describe(V& v, CheckpointSpec& checkpoint) {
  v.Field("every_steps", checkpoint.every_steps, {.min = 1, .max = 1e9});
  v.Field("keep_last", checkpoint.keep_last, {.min = 1, .max = 1000});
  v.Field("keep_best", checkpoint.keep_best);
}

template <class V>
void Describe(V& v, FinetuneOutput& output) {
  v.Field("adapter", output.adapter, {.required = true, .form = TextForm::kRepository});
  v.Field("alias", output.alias, {.form = TextForm::kAlias});
}

template <class V>
void Describe(V& v, SweepSpec& sweep) {
  v.Field("method", sweep.method);
  v.Field("space", sweep.space, {.required = true});
  v.Field("metric", sweep.metric);
  v.Field("goal", sweep.goal);
}

template <class V>
void Describe(V& v, FinetuneSpec& job) {
  v.Field("base_model", job.base_model, {.required = true, .form = TextForm::kReference});
  v.Field("dataset", job.dataset);
  v.Field("adapter", job.adapter);
  v.Field("training", job.training);
  v.Field("checkpoint", job.checkpoint);
  v.Field("output", job.output);
  v.Field("sweep", job.sweep);
}

template <class V>
void Describe(V& v, SamplingSpec& sampling) {
  v.Field("max_tokens", sampling.max_tokens, {.min = 1, .max = 1 << 20});
  v.Field("temperature", sampling.temperature, {.min = 0, .max = 2});
  v.Field("top_p", sampling.top_p, {.min = 0, .max = 1, .above = true});
  v.Field("seed", sampling.seed, {.min = 0, .max = kMaxSeed});
  v.Field("stop", sampling.stop, {.form = TextForm::kAny});
}

template <class V>
void Describe(V& v, BatchEvaluation& evaluation) {
  v.Field("reference", evaluation.reference, {.required = true});
  v.Field("metrics", evaluation.metrics, {.min_items = 1});
  v.Unbuilt("weights");
  v.Unbuilt("judge");
}

// row_retry: {max_attempts: 3} in a section of its own, one number in the struct.
struct RowRetryFields {
  int64_t& max_attempts;
};

template <class V>
void Describe(V& v, RowRetryFields& retry) {
  v.Field("max_attempts", retry.max_attempts, {.min = 1, .max = 100});
}

template <class V>
void Describe(V& v, BatchSpec& job) {
  RowRetryFields row_retry{job.row_max_attempts};
  v.Field("model", job.model, {.required = true, .form = TextForm::kReference});
  v.Field("adapter", job.adapter, {.form = TextForm::kReference});
  v.Field("input", job.input, {.required = true, .form = TextForm::kPath});
  v.Field("prompt", job.prompt, {.form = TextForm::kAny});
  v.Field("output", job.output, {.required = true, .form = TextForm::kPath});
  v.Field("sampling", job.sampling);
  v.Field("strategy", job.strategy);
  v.Field("validation", job.validation);
  v.Field("evaluate", job.evaluate);
  v.Field("row_retry", row_retry);
  v.Field("expires_after", job.expires_after);
  v.Unbuilt("response_format");
  v.Unbuilt("guardrails");
}

template <class V>
void Describe(V& v, CommandSpec& job) {
  v.Field("argv", job.argv, {.required = true, .form = TextForm::kWord, .min_items = 1});
  v.Field("array", job.array, {.min = 1, .max = 10'000'000});
}

struct ReferenceFields {
  std::string& path;
  std::string& field;
};

template <class V>
void Describe(V& v, ReferenceFields& reference) {
  v.Field("path", reference.path, {.required = true, .form = TextForm::kPath});
  v.Field("field", reference.field, {.required = true});
}

template <class V>
void Describe(V& v, EvaluateSpec& job) {
  ReferenceFields reference{job.reference_path, job.reference_field};
  v.Field("output", job.output, {.required = true, .form = TextForm::kPath});
  v.Field("reference", reference);
  v.Field("metrics", job.metrics, {.min_items = 1});
  v.Field("report", job.report, {.required = true, .form = TextForm::kPath});
}

// gpus: 2, or H100:8, or {min_memory: 24GB, count: 1, kind: H100}
Result<GpuRequest> ReadShortForm(const YamlNode& value, const GpuRequest& defaults);

template <class V>
void Describe(V& v, GpuRequest& gpus) {
  v.Field("count", gpus.count, {.min = 1, .max = 4096});
  v.Field("kind", gpus.kind, {.form = TextForm::kName});
  v.Field("min_memory", gpus.min_memory);
}

template <class V>
void Describe(V& v, ResourcesSpec& resources) {
  v.Field("gpus", resources.gpus);
  v.Field("cpus", resources.cpus, {.min = 1, .max = 65536});
  v.Field("nodes", resources.nodes, {.min = 1, .max = 4096});
  v.Field("threads_per_lane", resources.threads_per_lane, {.min = 1, .max = 1024});
  v.Field("ranks", resources.ranks, {.min = 1, .max = 4096});
}

template <class V>
void Describe(V& v, LimitsSpec& limits) {
  v.Field("max_duration", limits.max_duration);
  v.Field("max_cost_usd", limits.max_cost_usd);
  v.Field("on_exceed", limits.on_exceed);
}

template <class V>
void Describe(V& v, RetrySpec& retry) {
  v.Field("max_attempts", retry.max_attempts, {.min = 1, .max = 100});
  v.Field("other_device", retry.other_device);
}

// What every kind has; the kind's own keys stand beside these.
template <class V>
void Describe(V& v, JobSpec& job) {
  v.Known("kind");
  v.Field("name", job.name, {.required = true, .form = TextForm::kName});
  std::string project = job.project.str();
  v.Field("project", project, {.required = true, .form = TextForm::kName});
  job.project = ProjectName(project);
  v.Field("labels", job.labels);
  std::visit([&](auto& body) { Describe(v, body); }, job.body);
  v.Field("resources", job.resources);
  v.Field("limits", job.limits);
  v.Field("retry", job.retry);
  v.Field("priority", job.priority, {.min = 0, .max = 100});
  v.Field("after", job.after, {.form = TextForm::kName});
}

}  // namespace lorry
