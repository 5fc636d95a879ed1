#include "configs/job_checks.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/text.h"
#include "configs/features.h"
#include "configs/sweep.h"

namespace lorry {
namespace {

constexpr int64_t kDefaultTokensPerStep = 2048;

// `one` and `other` say the same thing: at most one may be given.
void NotBoth(ReadContext& context, const std::string& one, const std::string& other) {
  if (context.Given(one) && context.Given(other)) {
    context.FailAt(other, fmt::format("says the same thing as {}", one), "keep one of them");
  }
}

void CheckDataset(const FinetuneSpec& job, ReadContext& context) {
  const DatasetSpec& dataset = job.dataset;
  NotBoth(context, "dataset.validation", "dataset.val_fraction");
  if (!dataset.validation) return;
  std::error_code ignored;
  if (*dataset.validation == dataset.path || std::filesystem::equivalent(*dataset.validation, dataset.path, ignored)) {
    context.FailAt("dataset.validation", "is the training file itself", "use other rows, or dataset.val_fraction");
  }
}

void CheckStepSize(TrainingSpec& training, ReadContext& context) {
  for (const char* rows : {"training.rows_per_micro_batch", "training.micro_batches_per_step"}) {
    if (context.Given("training.tokens_per_step") && context.Given(rows)) {
      context.FailAt(rows, "says the same thing as training.tokens_per_step",
                     "give tokens_per_step, or rows_per_micro_batch and micro_batches_per_step");
      return;
    }
  }
  if (training.rows_per_micro_batch && !training.micro_batches_per_step) training.micro_batches_per_step = 1;
  if (training.micro_batches_per_step && !training.rows_per_micro_batch) training.rows_per_micro_batch = 1;
  if (!training.tokens_per_step && !training.rows_per_micro_batch) training.tokens_per_step = kDefaultTokensPerStep;
}

// A value that this version does not carry out, where the one that changes nothing is.
void RefuseUnbuilt(ReadContext& context, const std::string& key, const std::string& hint) {
  if (IsBuilt(key)) return;
  context.FailAt(key, "not in this version", hint);
  context.errors.back().code = ErrorCode::kUnsupported;
}

// Each value by the rules of its key; together they are judged by the ranks' own reading of each point.
void CheckSweepValues(const JobSpec& job, const SweepSpec& sweep, ReadContext& context) {
  nlohmann::json plain = ToJson(job);
  plain.erase("sweep");
  for (const auto& [key, values] : sweep.space) {
    for (size_t i = 0; i < values.size(); ++i) {
      nlohmann::json with_value = plain;
      with_value["sweep"]["space"][key] = nlohmann::json::array({values[i]});
      const Result<std::vector<SweepPoint>> point = SweepPoints(with_value);
      const Result<JobSpec> read = point.ok() ? JobFromJson(point->front().job) : point.error();
      if (!read.ok()) context.FailAt(fmt::format("sweep.space.{}[{}]", key, i), read.error().message, read.error().hint);
      if (std::find(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(i), values[i]) !=
          values.begin() + static_cast<std::ptrdiff_t>(i)) {
        context.FailAt(fmt::format("sweep.space.{}[{}]", key, i), "stands in the list already");
      }
    }
  }
}

void CheckSweep(const JobSpec& job, const SweepSpec& sweep, bool validated, ReadContext& context) {
  const std::vector<std::string> known(SweepKeys().begin(), SweepKeys().end());
  size_t points = 1;
  for (const auto& [key, values] : sweep.space) {
    points = std::min(points * values.size(), kMaxSweepPoints + 1);
    if (job.finetune()->adapter.init_from && key.starts_with("adapter.")) {
      context.FailAt("sweep.space." + key, "comes from adapter.init_from", "leave it out");
      continue;
    }
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto near = NearestName(key, known);
    context.FailAt("sweep.space." + EscapeControl(key, 64), "a sweep cannot vary this",
                   near ? fmt::format("did you mean \"{}\"?", *near) : fmt::format("it can {}", fmt::join(known, ", ")));
  }
  if (sweep.space.empty()) context.FailAt("sweep.space", "names no key", "training.learning_rate: [1.0e-4, 2.0e-4]");
  if (points > kMaxSweepPoints) context.FailAt("sweep.space", fmt::format("more than {} points", kMaxSweepPoints));
  if (sweep.metric != "eval_loss") {
    context.FailAt("sweep.metric", fmt::format("\"{}\" is none of eval_loss", EscapeControl(sweep.metric, 60)));
  }
  if (!validated) {
    context.FailAt("sweep", "there is nothing to compare the points by", "give dataset.validation or dataset.val_fraction");
  }
  if (sweep.space.contains("training.seed") && job.finetune()->dataset.val_fraction) {
    context.FailAt("sweep.space.training.seed", "decides which rows val_fraction takes, and points must share them",
                   "give dataset.validation");
  }
  if (context.errors.empty()) CheckSweepValues(job, sweep, context);
}

void CheckFinetune(FinetuneSpec& job, ReadContext& context) {
  CheckDataset(job, context);
  if (job.adapter.dropout > 0 && job.adapter.dora) {
    context.FailAt("adapter.dropout", "together with adapter.dora is not in this version", "only 0 is carried out");
    context.errors.back().code = ErrorCode::kUnsupported;
  }
  // A job in JSON has every default written out: there nobody gave them.
  if (job.adapter.init_from && !context.from_json) {
    for (const char* key : {"adapter.r", "adapter.alpha", "adapter.target_modules", "adapter.rslora", "adapter.dora",
                            "adapter.rank_pattern", "adapter.alpha_pattern"}) {
      if (context.Given(key)) context.FailAt(key, "comes from adapter.init_from", "leave it out");
    }
  }
  TrainingSpec& training = job.training;
  if (!context.Given("training.epochs") && !context.Given("training.max_steps")) {
    context.FailAt("training", "neither epochs nor max_steps is given", "one of them must be there");
  }
  CheckStepSize(training, context);
  const bool validated = context.Given("dataset.validation") || context.Given("dataset.val_fraction");
  if (training.eval_every_steps && !validated) {
    context.FailAt("training.eval_every_steps", "there is nothing to evaluate on",
                   "give dataset.validation or dataset.val_fraction");
  }
  if (training.early_stopping) {
    if (!training.eval_every_steps) context.FailAt("training.early_stopping", "needs training.eval_every_steps");
    if (training.early_stopping->metric != "eval_loss") {
      context.FailAt("training.early_stopping.metric",
                     fmt::format("\"{}\" is none of eval_loss", EscapeControl(training.early_stopping->metric, 60)));
    }
  }
  if (job.checkpoint.keep_best && !training.eval_every_steps) {
    context.FailAt("checkpoint.keep_best", "needs training.eval_every_steps",
                   "the best checkpoint is the one with the lowest eval_loss");
  }
}

void CheckMetrics(const std::vector<std::string>& metrics, const std::string& key, ReadContext& context) {
  static const std::vector<std::string> kKnown = {"rouge", "bleu", "chrf", "bertscore"};
  for (size_t i = 0; i < metrics.size(); ++i) {
    const std::string item = fmt::format("{}[{}]", key, i);
    if (std::find(kKnown.begin(), kKnown.end(), metrics[i]) == kKnown.end()) {
      const auto near = NearestName(metrics[i], kKnown);
      context.FailAt(item, fmt::format("\"{}\" is none of {}", EscapeControl(metrics[i], 60), fmt::join(kKnown, " | ")),
                     near ? fmt::format("did you mean \"{}\"?", *near) : "");
    } else if (key == "metrics" && !IsBuilt("evaluate.metrics: " + metrics[i])) {
      context.FailAt(item, "not in this version");
      context.errors.back().code = ErrorCode::kUnsupported;
    }
  }
}

void CheckBatch(const BatchSpec& job, ReadContext& context) {
  if (job.evaluate) CheckMetrics(job.evaluate->metrics, "evaluate.metrics", context);
}

// What a rank cannot do is refused before it has a lease.
void CheckBatchDevices(const JobSpec& job, ReadContext& context) {
  if (!job.resources.gpus || IsBuilt("kind batch on GPUs")) return;
  context.FailAt(context.Given("resources.gpus") ? "resources.gpus" : "resources", "a batch on GPUs is not in this version",
                 "use resources: {cpus: 2}");
  context.errors.back().code = ErrorCode::kUnsupported;
}

void CheckResources(ResourcesSpec& resources, bool command, ReadContext& context) {
  NotBoth(context, "resources.gpus", "resources.cpus");
  if (!context.Given("resources.gpus") && !context.Given("resources.cpus")) {
    if (command) {
      resources.cpus = 1;
    } else {
      resources.gpus = GpuRequest{};
    }
  }
  if (resources.gpus && context.Given("resources.threads_per_lane") && !context.from_json) {
    context.FailAt("resources.threads_per_lane", "goes with cpus", "a GPU is one lane");
  }
  if (resources.nodes > 1) RefuseUnbuilt(context, "resources.nodes", "a run has the devices of one node");
  if (!resources.gpus && resources.cpus.value_or(1) % resources.threads_per_lane != 0) {
    context.FailAt("resources.threads_per_lane",
                   fmt::format("{} does not divide cpus {}", resources.threads_per_lane, *resources.cpus),
                   "every lane has the same number of threads");
    return;
  }
  if (resources.ranks && resources.Lanes() % *resources.ranks != 0) {
    context.FailAt("resources.ranks", fmt::format("{} does not divide {} lanes", *resources.ranks, resources.Lanes()),
                   "every rank drives the same number of lanes");
  }
}

}  // namespace

void CheckAndResolve(JobSpec& job, ReadContext& context) {
  if (auto* finetune = std::get_if<FinetuneSpec>(&job.body)) CheckFinetune(*finetune, context);
  if (auto* batch = std::get_if<BatchSpec>(&job.body)) CheckBatch(*batch, context);
  if (auto* evaluate = std::get_if<EvaluateSpec>(&job.body)) CheckMetrics(evaluate->metrics, "metrics", context);
  if (auto* command = std::get_if<CommandSpec>(&job.body); command != nullptr && !command->argv.empty() && !command->IsNoOp()) {
    Result<std::string> program = ApplyForm(TextForm::kProgram, command->argv[0], context.folder);
    if (program.ok()) command->argv[0] = *program;
  }
  CheckResources(job.resources, job.command() != nullptr || job.evaluate() != nullptr, context);
  if (job.batch() != nullptr) CheckBatchDevices(job, context);
  if (const FinetuneSpec* finetune = job.finetune(); finetune != nullptr && finetune->sweep) {
    const bool validated = context.Given("dataset.validation") || context.Given("dataset.val_fraction");
    CheckSweep(job, *finetune->sweep, validated, context);
  }
  for (size_t i = 0; i < job.after.size(); ++i) {
    if (job.after[i] == job.name) {
      context.FailAt(fmt::format("after[{}]", i), "a job cannot come after itself", "name another run");
    }
  }
}

}  // namespace lorry
