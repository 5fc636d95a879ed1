#include "trainers/training_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/files.h"
#include "configs/sweep.h"
#include "lora/lora_model.h"
#include "lora/peft_files.h"
#include "lora/target_match.h"
#include "model/format/model_directory.h"
#include "model/net/arithmetic.h"
#include "model/net/weights.h"
#include "trainers/model_card.h"
#include "trainers/nccl_rank_group.h"
#include "trainers/trainer.h"
#include "trainers/training_loop.h"

namespace lorry::trainers {
namespace {

// What all trainings of the task share before the first step. Options are those of the job's first point: nothing that a sweep
// varies is read from them here.
struct RunInputs {
  TrainingOptions options;
  RunIdentity identity;  // without a job
  Dataset training;
  std::optional<Dataset> validation;
};

Result<std::string> InputPath(const TaskFile& task, const std::string& name) {
  const auto found = task.inputs.find(name);
  if (found == task.inputs.end()) return MakeError(ErrorCode::kSpec, "the task has no input " + name);
  return found->second;
}

// The text side of a model directory.
struct TextModel {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
};

Result<TextModel> LoadTextModel(const std::string& directory) {
  LORRY_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::FromDirectory(directory));
  Result<ChatTemplate> chat_template = ChatTemplate::FromDirectory(directory);
  if (!chat_template.ok()) {
    if (chat_template.error().code != ErrorCode::kNotFound) return chat_template.error();
    return TextModel{std::move(tokenizer), std::nullopt};
  }
  chat_template->UseSpecialTokensOf(tokenizer);
  return TextModel{std::move(tokenizer), std::move(*chat_template)};
}

Result<LoadedDataset> LoadData(const std::string& path, const TaskFile& task, const TrainingOptions& options,
                               const TextModel& text, Progress& progress) {
  DatasetRequest request;
  request.path = path;
  request.tokenizer = &text.tokenizer;
  request.chat_template = text.chat_template ? &*text.chat_template : nullptr;
  LORRY_ASSIGN_OR_RETURN(request.encode.loss_on, ParseLossOn(options.loss_on));
  LORRY_ASSIGN_OR_RETURN(request.encode.too_long, ParseTooLong(options.too_long));
  request.encode.max_length = options.max_length;
  request.encode.file = path;
  request.cache_dir = task.cache_dir;
  request.threads = task.lanes / task.ranks * task.threads_per_lane;
  request.progress = [&](int64_t rows) { progress.Preparing("tokenizing " + path, rows); };
  LORRY_ASSIGN_OR_RETURN(LoadedDataset loaded, LoadDataset(request));
  progress.Log("info",
               fmt::format("{}: {} rows, {} tokens{}; {} truncated, {} dropped", path, loaded.data.rows(), loaded.data.ids.size(),
                           loaded.from_cache ? " (cached)" : "", loaded.data.truncated, loaded.data.dropped));
  if (const std::vector<int64_t> lost = loaded.data.LinesWithoutLoss(); !lost.empty()) {
    progress.Log("warning",
                 fmt::format("{}:{}: max_length {} leaves nothing of the completion to learn from; so it is with {} of {} rows",
                             path, lost.front(), options.max_length, lost.size(), loaded.data.rows()));
  }
  return loaded;
}

Status LoadAllData(const TaskFile& task, Progress& progress, RunInputs* inputs) {
  LORRY_ASSIGN_OR_RETURN(const std::string base_model, InputPath(task, "base_model"));
  LORRY_ASSIGN_OR_RETURN(const std::string training_path, InputPath(task, "train"));
  LORRY_ASSIGN_OR_RETURN(const TextModel text, LoadTextModel(base_model));
  LORRY_ASSIGN_OR_RETURN(LoadedDataset training, LoadData(training_path, task, inputs->options, text, progress));
  inputs->identity.training_data = training.file_digest.hex();
  inputs->training = std::move(training.data);
  if (const auto path = task.inputs.find("validation"); path != task.inputs.end()) {
    LORRY_ASSIGN_OR_RETURN(LoadedDataset validation, LoadData(path->second, task, inputs->options, text, progress));
    if (validation.file_digest.hex() == inputs->identity.training_data) {
      return MakeError(ErrorCode::kSpec, path->second + ": validation and training are the same file");
    }
    inputs->identity.validation_data = validation.file_digest.hex();
    inputs->validation = std::move(validation.data);
  } else if (inputs->options.val_fraction) {
    LORRY_ASSIGN_OR_RETURN(auto parts, SplitForValidation(inputs->training, *inputs->options.val_fraction, inputs->options.seed));
    inputs->training = std::move(parts.first);
    inputs->validation = std::move(parts.second);
  }
  return OkStatus();
}

Result<RunInputs> LoadInputs(const TaskFile& task, const SweepPoint& first, RankGroup& group, Progress& progress) {
  RunInputs inputs;
  LORRY_ASSIGN_OR_RETURN(inputs.options, TrainingOptionsOf(first.job));
  LORRY_ASSIGN_OR_RETURN(const std::string base_model, InputPath(task, "base_model"));
  LORRY_ASSIGN_OR_RETURN(const ModelDirectory directory, ModelDirectory::OpenWithoutWeights(base_model));
  if (inputs.options.max_length > directory.config().max_positions) {
    Error error = MakeError(ErrorCode::kSpec, fmt::format("{} is longer than the model's context of {}",
                                                          inputs.options.max_length, directory.config().max_positions));
    error.key = "dataset.max_length";
    return error;
  }
  if (!inputs.options.on_gpu && inputs.options.bf16 && !CpuHasBf16()) {
    inputs.options.bf16 = false;
    progress.Log("warning", "this CPU has no AVX-512 BF16: training runs in fp32");
  }
  if (directory.config().stored_nf4 && !inputs.options.qlora) {
    progress.Log("info", "the base is stored in NF4 and dequantized here; adapter.type: qlora gives the same in less memory");
  }
  LORRY_ASSIGN_OR_RETURN(inputs.identity.base_model, BaseModelDigest(base_model));
  if (const auto adapter = task.inputs.find("adapter"); adapter != task.inputs.end()) {
    LORRY_ASSIGN_OR_RETURN(inputs.identity.initial_adapter, AdapterDigest(adapter->second));
  }
  inputs.identity.threads_per_lane = task.threads_per_lane;
  inputs.identity.libraries = LibraryVersions();
  inputs.identity.build = LORRY_VERSION;
  inputs.identity.device =
      inputs.options.on_gpu ? GpuDeviceName() : CpuArithmetic(inputs.options.bf16 ? Precision::kBf16 : Precision::kFp32);

  // Rank 0 encodes and leaves the cache for the others.
  if (group.rank() != 0) LORRY_TRY(group.Barrier());
  LORRY_TRY(LoadAllData(task, progress, &inputs));
  if (group.rank() == 0) LORRY_TRY(group.Barrier());
  return inputs;
}

Result<Adapter> InitialAdapter(const TaskFile& task, const TrainingOptions& options, const ModelConfig& model) {
  if (const auto path = task.inputs.find("adapter"); path != task.inputs.end()) {
    LORRY_ASSIGN_OR_RETURN(Adapter adapter, ReadPeftAdapter(path->second, model));
    if (adapter.config().was_fused) {
      return MakeError(ErrorCode::kUnsupported, "adapter.init_from: training on from target_parameters is not in this version",
                       "begin with an adapter that has experts one by one, as PEFT on transformers 4 writes it");
    }
    LORRY_TRY(adapter.SetDropout(options.dropout));
    return adapter;
  }
  AdapterConfig config;
  config.r = options.r;
  config.alpha = options.alpha;
  config.dropout = options.dropout;
  config.rslora = options.rslora;
  config.dora = options.dora;
  config.rank_pattern = options.rank_pattern;
  config.alpha_pattern = options.alpha_pattern;
  config.target_modules = options.target_modules;
  config.base_model_name_or_path = options.base_name;
  LORRY_ASSIGN_OR_RETURN(Adapter adapter, Adapter::Create(model, std::move(config)));
  std::vector<std::string> modules;
  for (const AdaptedLinear& linear : adapter.linears()) modules.push_back(linear.module);
  LORRY_TRY(CheckPatternsFit(adapter.config(), modules));
  InitAdapter(adapter, options.seed);
  return adapter;
}

Result<std::shared_ptr<const DecoderWeights>> LoadBase(const TaskFile& task, const TrainingOptions& options,
                                                       const at::Device& device) {
  LORRY_ASSIGN_OR_RETURN(const std::string base_model, InputPath(task, "base_model"));
  // Closed again here: the files' mapped pages count as the process's memory.
  LORRY_ASSIGN_OR_RETURN(const ModelDirectory directory, ModelDirectory::Open(base_model));
  LoadOptions load;
  load.for_training = true;
  load.device = device;
  load.nf4 = options.qlora;
  return DecoderWeights::Load(directory, options.bf16 ? Precision::kBf16 : Precision::kFp32, load);
}

// One of the task's trainings: a sweep's point, or the job itself.
struct Training {
  SweepPoint point;
  std::string directory;  // below the run's and the attempt's: "points/03"; empty for the job itself
  TrainingOptions options;
  std::unique_ptr<TrainedModel> model;
  AdapterConfig adapter;
  std::optional<Trainer> trainer;
};

Status MakeModel(const TaskFile& task, std::shared_ptr<const DecoderWeights> base, Training* training) {
  LORRY_ASSIGN_OR_RETURN(Adapter adapter, InitialAdapter(task, training->options, base->config()));
  LORRY_ASSIGN_OR_RETURN(auto model, LoraModel::Create(std::move(base), std::move(adapter)));
  training->adapter = model->adapter().config();
  if (training->adapter.dora && !task.inputs.contains("adapter")) model->InitMagnitudes();
  training->model = TrainLora(std::move(model));
  return OkStatus();
}

// The job's trainings; everything in `parts` but what is the training's own is theirs together.
Result<std::vector<std::unique_ptr<Training>>> MakeTrainings(const TaskFile& task, const std::vector<SweepPoint>& points,
                                                             const RunInputs& inputs,
                                                             const std::shared_ptr<const DecoderWeights>& base,
                                                             const std::function<TrainerParts(TrainedModel&)>& parts) {
  std::vector<std::unique_ptr<Training>> trainings;
  for (size_t i = 0; i < points.size(); ++i) {
    auto training = std::make_unique<Training>();
    training->point = points[i];
    if (points.size() > 1) training->directory = fmt::format("/points/{:02}", i);
    LORRY_ASSIGN_OR_RETURN(training->options, TrainingOptionsOf(points[i].job));
    training->options.bf16 = inputs.options.bf16;
    LORRY_TRY(MakeModel(task, base, training.get()));
    TrainerParts own = parts(*training->model);
    own.log_dir = task.run_dir + training->directory;
    own.identity = inputs.identity;
    LORRY_ASSIGN_OR_RETURN(own.identity.job, DecidingPartOf(points[i].job));
    own.options = training->options;
    if (points.size() > 1) own.point = static_cast<int>(i);
    training->trainer.emplace(std::move(own));
    trainings.push_back(std::move(training));
  }
  return trainings;
}

Status WriteAdapter(const std::string& directory, const Training& training, const RunInputs& inputs) {
  LORRY_TRY(MakeDirectories(directory));
  LORRY_TRY(WriteFileAtomically(directory + "/README.md",
                                ModelCard(training.options, training.adapter, inputs.training, *training.trainer)));
  return training.model->WriteAdapter(directory);
}

Status WriteOutputs(const TaskFile& task, const RunInputs& inputs, const Training& training, Progress& progress) {
  const std::string directory = task.attempt_dir + "/adapter";
  LORRY_TRY(WriteAdapter(directory, training, inputs));
  progress.Output("adapter", directory);
  progress.Output("trace", training.trainer->TracePath());
  return OkStatus();
}

// Every point's adapter and trace, the table of them, and the best one as the run's. Collective: losses that nobody knows any
// more are found again.
Status WriteSweep(const TaskFile& task, const RunInputs& inputs, const std::vector<std::unique_ptr<Training>>& trainings,
                  const TrainingLoop& loop, RankGroup& group, Progress& progress) {
  const nlohmann::json& sweep = task.job["sweep"];
  const bool most = sweep.value("goal", "min") == "max";
  nlohmann::json table = nlohmann::json::array();
  std::optional<size_t> best;
  double best_loss = 0;
  for (size_t i = 0; i < trainings.size(); ++i) {
    const Training& training = *trainings[i];
    nlohmann::json row = {{"point", i}, {"values", training.point.values}, {"steps", training.trainer->steps_done()}};
    if (const Error* fault = loop.fault(i)) {
      row["error"] = fault->Format();
    } else {
      LORRY_ASSIGN_OR_RETURN(const double loss, trainings[i]->trainer->HeldOutLoss());
      row["eval_loss"] = loss;
      if (!best || (most ? loss > best_loss : loss < best_loss)) best = i, best_loss = loss;
      if (group.rank() == 0) {
        const std::string directory = task.attempt_dir + training.directory;
        LORRY_TRY(WriteAdapter(directory, training, inputs));
        LORRY_ASSIGN_OR_RETURN(const std::string trace, ReadFile(training.trainer->TracePath(), int64_t{1} << 32));
        LORRY_TRY(WriteFileAtomically(directory + "/trace.h5", trace));
      }
    }
    table.push_back(std::move(row));
  }
  if (group.rank() != 0) return OkStatus();
  LORRY_TRY(WriteOutputs(task, inputs, *trainings[*best], progress));
  const nlohmann::json report = {
      {"metric", "eval_loss"}, {"goal", most ? "max" : "min"}, {"best", *best}, {"points", std::move(table)}};
  LORRY_TRY(WriteFileAtomically(task.attempt_dir + "/sweep.json", report.dump(2) + "\n"));
  progress.Output("points", task.attempt_dir + "/points");
  progress.Output("sweep", task.attempt_dir + "/sweep.json");
  progress.Log("info", fmt::format("best of {} points: {} ({}), eval_loss {:.4f}", trainings.size(), *best,
                                   trainings[*best]->point.Label(), best_loss));
  return OkStatus();
}

Result<TrainingEnd> TrainOnRank(const TaskFile& task, const at::Device& device, RankGroup& group, Progress& progress) {
  progress.Enter(Phase::kStartup);
  LORRY_ASSIGN_OR_RETURN(const std::vector<SweepPoint> points, SweepPoints(task.job));
  LORRY_ASSIGN_OR_RETURN(const RunInputs inputs, LoadInputs(task, points.front(), group, progress));
  progress.Facts(inputs.identity, inputs.options);
  const int lanes_of_rank = task.lanes / task.ranks;
  at::set_num_threads(lanes_of_rank * task.threads_per_lane);
  LORRY_ASSIGN_OR_RETURN(const auto base, LoadBase(task, inputs.options, device));

  Lanes lanes(lanes_of_rank, task.threads_per_lane);
  std::optional<HeldOut> held_out;
  if (inputs.validation) held_out.emplace(*inputs.validation, inputs.options.batches.tokens_per_micro_batch);
  LORRY_TRY(MakeDirectories(task.run_dir));
  const auto parts = [&](TrainedModel& model) {
    return TrainerParts{.model = model,
                        .group = group,
                        .lanes = lanes,
                        .progress = progress,
                        .training = inputs.training,
                        .held_out = held_out ? &*held_out : nullptr,
                        .log_dir = {},
                        .identity = {},
                        .options = {},
                        .point = {}};
  };
  LORRY_ASSIGN_OR_RETURN(const auto trainings, MakeTrainings(task, points, inputs, base, parts));
  std::vector<Trainer*> trainers;
  for (const auto& training : trainings) trainers.push_back(&*training->trainer);
  TrainingLoop loop(trainers, group, progress, task.run_dir);
  LORRY_TRY(loop.Resume(task.resume_from));
  LORRY_ASSIGN_OR_RETURN(const TrainingEnd end, loop.Run());
  if (end == TrainingEnd::kFinished) {
    if (trainings.size() > 1) {
      LORRY_TRY(WriteSweep(task, inputs, trainings, loop, group, progress));
    } else if (group.rank() == 0) {
      LORRY_TRY(WriteOutputs(task, inputs, *trainings.front(), progress));
    }
  }
  LORRY_TRY(group.Barrier());
  return end;
}

Result<at::Device> DeviceFor(const TaskFile& task) {
  if (!task.job.contains("resources") || !task.job["resources"].contains("gpus")) return at::Device(at::kCPU);
  return GpuOfThisRank();
}

Result<std::unique_ptr<RankGroup>> MakeRankGroup(const TaskFile& task, const at::Device& device, bool mpi_active) {
  if (!mpi_active) {
    if (task.ranks != 1) {
      return MakeError(ErrorCode::kSpec,
                       fmt::format("the task has {} ranks; start it with mpirun -n {}", task.ranks, task.ranks));
    }
    return SingleProcessGroup();
  }
  std::unique_ptr<RankGroup> mpi = MpiRankGroup();
  if (mpi->size() != task.ranks) {
    return MakeError(ErrorCode::kSpec, fmt::format("the task has {} ranks, mpirun started {}", task.ranks, mpi->size()));
  }
  if (device.is_cpu()) return mpi;
  return NcclRankGroup(std::move(mpi), device);
}

Result<TrainingEnd> GuardedTraining(const TaskFile& task, bool mpi_active, Progress& progress) {
  try {
    LORRY_ASSIGN_OR_RETURN(const at::Device device, DeviceFor(task));
    LORRY_ASSIGN_OR_RETURN(const std::unique_ptr<RankGroup> group, MakeRankGroup(task, device, mpi_active));
    return TrainOnRank(task, device, *group, progress);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& exception) {
    return MakeError(ErrorCode::kInternal, exception.what());
  }
}

TaskExit Report(const Error& error) {
  fmt::print(stderr, "lorry-train: {}\n", error.Format());
  return TaskExitOf(error.code);
}

}  // namespace

TaskExit RunTrainingTask(const std::string& task_path) {
  Result<TaskFile> task = TaskFile::Read(task_path);
  if (!task.ok()) return Report(task.error());
  const int rank = RankFromEnvironment();
  Result<TaskChannel> channel = TaskChannel::Connect(task->socket, rank);
  if (!channel.ok()) return Report(channel.error());
  Progress progress(std::move(*channel), rank);
  if (task->ranks > 1) progress.Enter(Phase::kGangWait);
  Result<std::unique_ptr<MpiSession>> mpi = MpiSession::Start();
  if (!mpi.ok()) return Report(mpi.error());

  const Result<TrainingEnd> end = GuardedTraining(*task, (*mpi)->active(), progress);
  if (!end.ok()) {
    const TaskExit exit = Report(end.error());
    progress.Failed(end.error(), exit);
    (*mpi)->Abort(static_cast<int>(exit));
    return exit;
  }
  if (*end == TrainingEnd::kStoppedOnRequest) return TaskExit::kStopped;
  progress.Done();
  return TaskExit::kDone;
}

}  // namespace lorry::trainers
