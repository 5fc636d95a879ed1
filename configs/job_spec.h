// A job as a person writes it in YAML, checked: what `lorry submit` sends, what stands in task.json, and what scheduler, worker,
// trainers and batch read. Names of models and adapters are as they were written; scheduler/job_lock.h says what they stood for.
//
//   ParsedJob parsed = LoadJob("job.yaml", {"training.max_steps=10"});   // YAML -> JobSpec, or every error at once
//   nlohmann::json json = ToJson(*parsed.spec);                          // canonical: same job, same bytes
//   Result<JobSpec> again = JobFromJson(json);                           // the same rules over JSON
//
// The keys, types, units and ranges stand once, in job_fields.h. JSON has the keys of the YAML with every default written out;
// optional keys without a value are left out. Paths are absolute after parsing; a reference to a model or adapter is either a
// registry name ("org/name@v3") or an absolute path of a directory. Values; safe to copy between threads.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/units.h"
#include "configs/yaml_document.h"

namespace lorry {

enum class LengthPolicy { kError, kTruncate, kDrop };
enum class LossScope { kCompletion, kAssistant, kAll };
enum class AdapterType { kLora, kQlora };
enum class LrScheduler { kLinear, kCosine, kConstant };
enum class TrainPrecision { kBf16, kFp32 };
enum class OnExceed { kCheckpointAndStop, kStop, kNotify };
enum class RowValidation { kTolerant, kStrict };
enum class BatchStrategy { kAuto, kSingle, kMapReduce, kRefine };

// True for a reference that is a directory rather than a registry name.
inline bool IsDirectoryReference(std::string_view reference) { return reference.starts_with('/'); }

struct DatasetSpec {
  std::string path;                       // absolute
  std::optional<std::string> validation;  // absolute; not together with val_fraction
  std::optional<double> val_fraction;     // 0 < x < 1
  int64_t max_length = 1024;              // tokens
  LengthPolicy too_long = LengthPolicy::kError;
  bool packing = true;
  bool shuffle = true;
  LossScope loss_on = LossScope::kCompletion;
};

struct AdapterSpec {
  std::optional<std::string> init_from;  // absolute directory
  AdapterType type = AdapterType::kLora;
  int64_t r = 16;
  double alpha = 32;
  double dropout = 0;
  std::vector<std::string> target_modules = {"all-linear"};  // names, or the one word all-linear
  bool rslora = false;
  bool dora = false;
  // By module: the first, in the order of the alphabet, of which (.*\.)?(KEY)$ matches the module's name has another rank or
  // alpha.
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
};

struct EarlyStoppingSpec {
  std::string metric = "eval_loss";
  int64_t patience = 3;  // evaluations
};

struct TrainingSpec {
  std::optional<int64_t> epochs;
  std::optional<int64_t> max_steps;  // at least one of the two is set
  // How much one optimizer step holds: tokens, or rows. Exactly one of the two ways is set after parsing.
  std::optional<int64_t> tokens_per_step;
  std::optional<int64_t> rows_per_micro_batch;
  std::optional<int64_t> micro_batches_per_step;
  std::optional<int64_t> eval_every_steps;
  double learning_rate = 2e-4;
  std::optional<double> loraplus_lr_ratio;  // LoRA+: B learns so many times as fast as A
  LrScheduler lr_scheduler = LrScheduler::kCosine;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  TrainPrecision precision = TrainPrecision::kBf16;
  int64_t seed = 0;
  std::optional<EarlyStoppingSpec> early_stopping;
};

struct CheckpointSpec {
  std::optional<int64_t> every_steps;
  int64_t keep_last = 2;
  bool keep_best = false;
};

enum class SweepMethod { kGrid };
enum class SweepGoal { kMin, kMax };

// Many adapters on one base in one run, one for each point of the grid (configs/sweep.h); the best by `metric` goes out.
struct SweepSpec {
  SweepMethod method = SweepMethod::kGrid;
  std::map<std::string, std::vector<ScalarText>> space;  // key path -> its values
  std::string metric = "eval_loss";
  SweepGoal goal = SweepGoal::kMin;
};

struct FinetuneOutput {
  std::string adapter;  // ORG/NAME
  std::optional<std::string> alias;
};

struct FinetuneSpec {
  std::string base_model;  // registry name or absolute directory
  DatasetSpec dataset;
  AdapterSpec adapter;
  TrainingSpec training;
  CheckpointSpec checkpoint;
  FinetuneOutput output;
  std::optional<SweepSpec> sweep;
};

struct SamplingSpec {
  int64_t max_tokens = 256;
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  int64_t seed = 0;
  std::vector<std::string> stop;
};

// What `evaluate:` of a batch, and `kind: evaluate`, measure of an output.
struct BatchEvaluation {
  std::string reference;  // the input row's field that holds the reference text
  std::vector<std::string> metrics = {"rouge"};
};

struct BatchSpec {
  std::string model;  // registry name or absolute directory
  std::optional<std::string> adapter;
  std::string input;                  // absolute
  std::optional<std::string> prompt;  // template over a row's fields; without it rows carry prompt, messages or a request
  std::string output;                 // absolute directory
  SamplingSpec sampling;
  BatchStrategy strategy = BatchStrategy::kAuto;
  RowValidation validation = RowValidation::kTolerant;
  std::optional<BatchEvaluation> evaluate;
  int64_t row_max_attempts = 3;  // row_retry.max_attempts
  std::optional<Millis> expires_after;

  // Names by which a row may call the model: the job's for it, with or without version and the organisation "library". Empty,
  // and any name is taken, where the model or the adapter is a directory.
  std::vector<std::string> ModelNames() const;
};

struct CommandSpec {
  std::vector<std::string> argv;  // {":"} is the worker's built-in no-op
  int64_t array = 1;              // elements, each with its own durable start and end
  bool IsNoOp() const { return argv.size() == 1 && argv[0] == ":"; }
};

struct EvaluateSpec {
  std::string output;          // absolute: the output.jsonl to score
  std::string reference_path;  // absolute
  std::string reference_field;
  std::vector<std::string> metrics = {"rouge"};
  std::string report;  // absolute: report.json
};

struct GpuRequest {
  int64_t count = 1;
  std::string kind;                 // empty: any
  std::optional<Bytes> min_memory;  // of each GPU
};

struct ResourcesSpec {
  // Exactly one of gpus and cpus is set after parsing.
  std::optional<GpuRequest> gpus;
  std::optional<int64_t> cpus;  // CPU slots, one core each
  int64_t nodes = 1;
  int64_t threads_per_lane = 1;  // with cpus only
  std::optional<int64_t> ranks;  // processes; divides Lanes()

  int64_t Devices() const { return gpus ? gpus->count : cpus.value_or(1); }
  // A lane is one GPU, or threads_per_lane CPU slots (docs/reading-path.md): part of the job, never of the machine.
  int64_t Lanes() const { return gpus ? gpus->count : cpus.value_or(1) / threads_per_lane; }
  // Where the job does not say: one rank for each GPU; one rank that drives every CPU lane.
  int64_t Ranks() const { return ranks.value_or(gpus ? gpus->count : 1); }
};

struct LimitsSpec {
  std::optional<Millis> max_duration;
  std::optional<Dollars> max_cost_usd;  // at most 9 decimals
  OnExceed on_exceed = OnExceed::kCheckpointAndStop;
};

struct RetrySpec {
  int64_t max_attempts = 3;
  bool other_device = false;  // may go on on another device kind, and lose the byte promise
};

using JobBody = std::variant<FinetuneSpec, BatchSpec, CommandSpec, EvaluateSpec>;

struct JobSpec {
  std::string name;
  ProjectName project;
  std::map<std::string, std::string> labels;
  JobBody body;
  ResourcesSpec resources;
  LimitsSpec limits;
  RetrySpec retry;
  int64_t priority = 50;           // 0..100, higher first
  std::vector<std::string> after;  // run ids, or names of runs in the same project

  std::string_view kind() const;  // "finetune", "batch", "command", "evaluate"
  const FinetuneSpec* finetune() const { return std::get_if<FinetuneSpec>(&body); }
  const BatchSpec* batch() const { return std::get_if<BatchSpec>(&body); }
  const CommandSpec* command() const { return std::get_if<CommandSpec>(&body); }
  const EvaluateSpec* evaluate() const { return std::get_if<EvaluateSpec>(&body); }
};

// The job as JSON; CanonicalJson of it is the same bytes for the same job.
nlohmann::json ToJson(const JobSpec& job);
// Errors: kSpec, all of them joined line by line in the message.
Result<JobSpec> JobFromJson(const nlohmann::json& json);

// The finetune enums as their YAML words, for messages and model cards.
std::string_view WordOf(LossScope value);
std::string_view WordOf(LengthPolicy value);
std::string_view WordOf(LrScheduler value);
std::string_view WordOf(TrainPrecision value);

}  // namespace lorry
