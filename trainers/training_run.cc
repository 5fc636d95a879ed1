#include "trainers/training_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/files.h"
#include "lora/lora_model.h"
#include "lora/peft_files.h"
#include "model/format/model_directory.h"
#include "model/net/arithmetic.h"
#include "model/net/weights.h"
#include "trainers/model_card.h"
#include "trainers/nccl_rank_group.h"
#include "trainers/trainer.h"

namespace lorry::trainers {
namespace {

// What the task's job needs before the first step.
struct RunInputs {
  TrainingOptions options;
  RunIdentity identity;
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

Result<RunInputs> LoadInputs(const TaskFile& task, RankGroup& group, Progress& progress) {
  RunInputs inputs;
  LORRY_ASSIGN_OR_RETURN(inputs.options, TrainingOptionsOf(task.job));
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
  LORRY_ASSIGN_OR_RETURN(inputs.identity.job, DecidingPartOf(task.job));
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
  if (const auto path = task.inputs.find("adapter"); path != task.inputs.end()) return ReadPeftAdapter(path->second, model);
  AdapterConfig config;
  config.r = options.r;
  config.alpha = options.alpha;
  config.dropout = options.dropout;
  config.rslora = options.rslora;
  config.target_modules = options.target_modules;
  config.base_model_name_or_path = options.base_name;
  LORRY_ASSIGN_OR_RETURN(Adapter adapter, Adapter::Create(model, std::move(config)));
  InitAdapter(adapter, options.seed);
  return adapter;
}

struct LoadedModel {
  std::unique_ptr<TrainedModel> model;
  AdapterConfig adapter;
};

Result<LoadedModel> LoadModel(const TaskFile& task, const TrainingOptions& options, const at::Device& device) {
  LORRY_ASSIGN_OR_RETURN(const std::string base_model, InputPath(task, "base_model"));
  LORRY_ASSIGN_OR_RETURN(const ModelDirectory directory, ModelDirectory::Open(base_model));
  LORRY_ASSIGN_OR_RETURN(Adapter adapter, InitialAdapter(task, options, directory.config()));
  LoadOptions load;
  load.for_training = true;
  load.device = device;
  load.nf4 = options.qlora;
  LORRY_ASSIGN_OR_RETURN(auto weights, DecoderWeights::Load(directory, options.bf16 ? Precision::kBf16 : Precision::kFp32, load));
  LORRY_ASSIGN_OR_RETURN(auto model, LoraModel::Create(std::move(weights), std::move(adapter)));
  AdapterConfig config = model->adapter().config();
  return LoadedModel{TrainLora(std::move(model)), std::move(config)};
}

// Rank 0 chooses and reads; all take over the same bytes.
Status Resume(const TaskFile& task, const RunInputs& inputs, RankGroup& group, Progress& progress, Trainer& trainer) {
  std::string bytes;
  if (group.rank() == 0) {
    const CheckpointStore store(task.run_dir);
    LORRY_ASSIGN_OR_RETURN(std::optional<ResumePoint> point,
                           FindResumePoint(store, task.resume_from, inputs.identity, inputs.options.other_device,
                                           [&](const std::string& text) { progress.Log("warning", text); }));
    if (point) bytes = std::move(point->bytes);
    if (!point && !task.resume_from.empty()) {
      progress.Log("warning", "no whole checkpoint up to " + task.resume_from + " in " + task.run_dir + ": beginning again");
    }
  }
  LORRY_ASSIGN_OR_RETURN(bytes, group.Broadcast(bytes));
  if (bytes.empty()) return OkStatus();
  RunIdentity identity;
  LORRY_ASSIGN_OR_RETURN(const TrainingState state, DecodeState(bytes, "checkpoint", &identity));
  progress.Log("info", fmt::format("going on from step {}", state.step));
  return trainer.Restore(state);
}

Status WriteOutputs(const TaskFile& task, const RunInputs& inputs, const LoadedModel& loaded, const Trainer& trainer,
                    Progress& progress) {
  const std::string directory = task.attempt_dir + "/adapter";
  LORRY_TRY(MakeDirectories(directory));
  LORRY_TRY(WriteFileAtomically(directory + "/README.md", ModelCard(inputs.options, loaded.adapter, inputs.training, trainer)));
  LORRY_TRY(loaded.model->WriteAdapter(directory));
  progress.Output("adapter", directory);
  progress.Output("trace", trainer.TracePath());
  return OkStatus();
}

Result<TrainingEnd> TrainOnRank(const TaskFile& task, const at::Device& device, RankGroup& group, Progress& progress) {
  progress.Enter(Phase::kStartup);
  LORRY_ASSIGN_OR_RETURN(const RunInputs inputs, LoadInputs(task, group, progress));
  progress.Facts(inputs.identity, inputs.options);
  const int lanes_of_rank = task.lanes / task.ranks;
  at::set_num_threads(lanes_of_rank * task.threads_per_lane);
  LORRY_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(task, inputs.options, device));

  Lanes lanes(lanes_of_rank, task.threads_per_lane);
  std::optional<HeldOut> held_out;
  if (inputs.validation) held_out.emplace(*inputs.validation, inputs.options.batches.tokens_per_micro_batch);
  LORRY_TRY(MakeDirectories(task.run_dir));
  Trainer trainer({.model = *loaded.model,
                   .group = group,
                   .lanes = lanes,
                   .progress = progress,
                   .training = inputs.training,
                   .held_out = held_out ? &*held_out : nullptr,
                   .run_dir = task.run_dir,
                   .identity = inputs.identity,
                   .options = inputs.options});
  LORRY_TRY(Resume(task, inputs, group, progress, trainer));
  LORRY_ASSIGN_OR_RETURN(const TrainingEnd end, trainer.Run());
  if (end == TrainingEnd::kFinished && group.rank() == 0) {
    LORRY_TRY(WriteOutputs(task, inputs, loaded, trainer, progress));
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
