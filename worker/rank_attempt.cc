#include "worker/rank_attempt.h"

#include <csignal>
#include <filesystem>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/files.h"
#include "base/json.h"
#include "worker/blob_cache.h"
#include "worker/launch.h"

namespace lorry {

using nlohmann::json;

bool RankAttempt::StopsHere() {
  if (finished()) return true;
  if (!stopping()) return false;
  Finish(stop_reason(), {});
  return true;
}

void RankAttempt::Begin() {
  auto parsed = ParseJson(grant_.job_json);
  if (!parsed.ok()) return FinishWith(Because("the job of the grant", std::move(parsed).error()));
  job_json_ = std::move(*parsed);
  auto job = JobFromJson(job_json_);
  if (!job.ok()) return FinishWith(job.error());
  job_ = std::move(*job);
  if (Status made = MakeDirectories(AttemptDir()); !made.ok()) return FinishWith(made.error());
  FetchInputs();
}

void RankAttempt::FetchInputs() {
  std::vector<wire::Input> wanted = grant_.inputs;
  if (!*around_.shares_home) {
    for (const wire::CheckpointRef& checkpoint : grant_.checkpoints) {
      wanted.push_back({.name = checkpoint.path, .directory = true, .files = checkpoint.files});
    }
  }
  std::weak_ptr<Attempt> weak = weak_from_this();
  around_.mover->Fetch(MissingBlobs(around_.options->home, wanted), [this, weak](const Status& fetched) {
    if (weak.expired() || StopsHere()) return;
    if (!fetched.ok()) return FinishWith(fetched.error());
    if (grant_.committed_rows == 0) return Stage();
    AskForRows(RowIndex(0));
  });
}

void RankAttempt::AskForRows(RowIndex from) {
  row_page_ = around_.outbox->Keep(wire::ListRows{.attempt = ref(), .from = from}, ref().epoch);
}

void RankAttempt::TakeRows(const wire::RowPage& page) {
  committed_rows_.insert(committed_rows_.end(), page.rows.begin(), page.rows.end());
  if (!page.last && !page.rows.empty()) return AskForRows(page.rows.back().row.Next());
  std::map<std::string, json> by_shard;
  for (const wire::RowReport& row : committed_rows_) {
    by_shard[row.shard].push_back({row.row.value(), row.state == wire::RowState::kOk ? "ok" : "error", row.offset, row.length,
                                   row.digest.hex(), row.prompt_tokens, row.completion_tokens, row.millis});
  }
  for (auto& [shard, rows] : by_shard) shards_.push_back({{"shard", shard}, {"rows", std::move(rows)}});
  committed_rows_.clear();
  Stage();
}

void RankAttempt::Stage() {
  if (StopsHere()) return;
  const auto work = [home = around_.options->home, inputs = grant_.inputs, checkpoints = grant_.checkpoints,
                     run_dir = RunDir()]() -> Result<std::map<std::string, std::string>> {
    // A checkpoint that came as blobs is put where its rank looks for it.
    for (const wire::CheckpointRef& checkpoint : checkpoints) {
      const std::string directory = run_dir + "/" + checkpoint.path;
      if (checkpoint.files.empty() || FileExists(directory)) continue;
      LORRY_ASSIGN_OR_RETURN(auto staged,
                             StageInputs(home, {{.name = "checkpoint", .directory = true, .files = checkpoint.files}}));
      LORRY_TRY(MakeDirectories(std::filesystem::path(directory).parent_path().string()));
      std::error_code problem;
      std::filesystem::copy(staged["checkpoint"], directory, std::filesystem::copy_options::recursive, problem);
      if (problem) return MakeError(ErrorCode::kStorage, fmt::format("cannot make {}: {}", directory, problem.message()));
    }
    return StageInputs(home, inputs);
  };
  InBackground(this, work, [](RankAttempt* self, Result<std::map<std::string, std::string>> inputs) {
    if (self->StopsHere()) return;
    if (!inputs.ok()) return self->FinishWith(inputs.error());
    self->Start(std::move(*inputs));
  });
}

void RankAttempt::Start(std::map<std::string, std::string> inputs) {
  if (Status written = WriteTask(std::move(inputs)); !written.ok()) return FinishWith(written.error());
  if (Status started = StartProcesses(); !started.ok()) {
    KillAll();
    Error error = started.error();
    if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kInternal;  // a program of ours is missing
    return FinishWith(error);
  }
}

std::string RankAttempt::ResumeFrom() const {
  for (const wire::CheckpointRef& checkpoint : grant_.checkpoints) {
    if (FileExists(RunDir() + "/" + checkpoint.path)) return checkpoint.path;
  }
  return "";
}

Status RankAttempt::WriteTask(std::map<std::string, std::string> inputs) {
  LORRY_ASSIGN_OR_RETURN(socket_, TaskSocket::Listen(fmt::format("{}/{}-{}", around_.socket_dir, ref().run, ref().attempt)));
  TaskFile task;
  task.run = ref().run;
  task.attempt = ref().attempt;
  task.epoch = ref().epoch;
  task.kind = grant_.kind;
  task.job = job_json_;
  task.attempt_dir = AttemptDir();
  task.run_dir = RunDir();
  task.cache_dir = around_.options->home + "/cache";
  task.socket = socket_->path();
  task.ranks = static_cast<int>(job_.resources.Ranks());
  task.lanes = static_cast<int>(job_.resources.Lanes());
  task.threads_per_lane = static_cast<int>(job_.resources.threads_per_lane);
  task.inputs = std::move(inputs);
  task.model_created = grant_.model_created;
  task.resume_from = ResumeFrom();
  task.shards = shards_;
  LORRY_TRY(MakeDirectories(task.cache_dir));
  return task.Write(AttemptDir() + "/task.json");
}

Status RankAttempt::StartProcesses() {
  RankLaunch launch;
  const auto known = around_.options->programs.find(grant_.kind);
  if (known == around_.options->programs.end()) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("kind: {}: not in this version", grant_.kind));
  }
  launch.program = known->second;
  launch.task_path = AttemptDir() + "/task.json";
  launch.log_dir = AttemptDir();
  launch.ranks = static_cast<int>(job_.resources.Ranks());
  launch.threads_per_lane = static_cast<int>(job_.resources.threads_per_lane);
  launch.mpi = grant_.kind == "finetune";
  if (job_.resources.gpus) {
    for (const DeviceId& device : grant_.devices) launch.gpus.push_back(device.str());
  }
  kills_before_ = OutOfMemoryKills();
  LORRY_ASSIGN_OR_RETURN(HeldProcesses held, HeldProcesses::Open(around_.options->home, ref().run, ref().attempt));
  held_.emplace(std::move(held));
  ForwardLogs(static_cast<uint32_t>(launch.ranks));
  for (SpawnOptions& options : PlanLaunch(launch)) {
    options.env["LORRY_RUN"] = ref().run.str();
    options.env["LORRY_ATTEMPT"] = std::to_string(ref().attempt.value());
    LORRY_ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(options));
    held_->Put(processes_.size(), process.pid());
    processes_.push_back({std::move(process), std::nullopt});
  }
  return OkStatus();
}

void RankAttempt::AskToEnd(bool now) {
  if (now) return KillAll();
  if (processes_.empty()) return;  // the next step of the road sees the stop
  socket_->SendAll({{"t", "stop"}, {"mode", "checkpoint"}});
}

void RankAttempt::KillAll() {
  for (Started& started : processes_) started.process.Signal(SIGKILL);
  // mpirun's ranks lead groups of their own, and mpirun, which would end them, may itself be gone.
  for (const auto& [pid, ticks] : ranks_) {
    if (ProcessStartTicks(pid) == ticks) KillTree(pid);
  }
}

void RankAttempt::OnChildExit() {
  if (processes_.empty() || finished()) return;
  size_t ended = 0;
  bool failed = false;
  for (Started& started : processes_) {
    if (!started.end) started.end = started.process.Poll();
    if (!started.end) continue;
    ++ended;
    failed = failed || started.end->signal != 0 ||
             (started.end->exit_status != 0 && started.end->exit_status != static_cast<int>(TaskExit::kStopped));
  }
  if (ended == processes_.size()) return OnAllEnded();
  if (failed) KillAll();  // ranks live and die together
}

EndVerdict RankAttempt::Verdict() const {
  EndEvidence evidence;
  for (const Started& started : processes_) evidence.processes.push_back(*started.end);
  evidence.fault = fault_;
  if (stopping()) evidence.asked_to_stop = stop_reason();
  evidence.done = done_;
  evidence.out_of_memory_kills = OutOfMemoryKills() > kills_before_;
  return JudgeEnd(evidence);
}

void RankAttempt::OnAllEnded() {
  OnReadable();  // the last lines may have come together with the end
  KillAll();     // a rank that mpirun left behind
  meter_.SetAll(UsageClass::kIdleLease, Now());
  SayRows();
  SayProgress();  // the last steps; after Finished the scheduler would not take them
  const EndVerdict verdict = Verdict();
  processes_.clear();
  held_.reset();
  socket_.reset();
  if (verdict.reason == EndReason::kDone) return StoreOutputs();
  verdict_ = verdict;
  const int64_t now = SystemClock().MonotonicMillis();
  finish_by_ = now + around_.options->stop_grace.count();
  FinishWhenSaid(now);
}

void RankAttempt::FinishWhenSaid(int64_t monotonic_ms) {
  if (!verdict_ || finished()) return;
  const bool has_time = stopping() ? in_grace() : monotonic_ms < finish_by_;
  if (checkpoints_on_their_way_ > 0 && has_time) return;
  Finish(verdict_->reason, verdict_->detail, {}, facts_json_);
}

void RankAttempt::StoreOutputs() {
  const auto work = [home = around_.options->home, outputs = outputs_]() -> Result<std::vector<wire::Output>> {
    std::vector<wire::Output> stored;
    for (const auto& [name, path] : outputs) {
      LORRY_ASSIGN_OR_RETURN(wire::Output output, StoreOutput(home, name, path));
      stored.push_back(std::move(output));
    }
    return stored;
  };
  InBackground(this, work, [](RankAttempt* self, Result<std::vector<wire::Output>> outputs) {
    if (!outputs.ok()) return self->FinishWith(Because("storing the outputs", std::move(outputs).error()));
    self->SendOutputs(std::move(*outputs));
  });
}

void RankAttempt::SendOutputs(std::vector<wire::Output> outputs) {
  if (*around_.shares_home) return Finish(EndReason::kDone, {}, std::move(outputs), facts_json_);
  std::vector<wire::BlobFile> files;
  for (const wire::Output& output : outputs) files.insert(files.end(), output.files.begin(), output.files.end());
  std::weak_ptr<Attempt> weak = weak_from_this();
  around_.mover->Send(std::move(files), [this, weak, outputs = std::move(outputs)](const Status& sent) {
    if (weak.expired()) return;
    if (!sent.ok()) return FinishWith(Because("sending the outputs", sent.error()));
    Finish(EndReason::kDone, {}, outputs, facts_json_);
  });
}

}  // namespace lorry
