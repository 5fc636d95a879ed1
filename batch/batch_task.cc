#include "batch/batch_task.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include "base/files.h"
#include "base/json.h"
#include "batch/assembly.h"
#include "batch/engine.h"
#include "batch/loaded_model.h"
#include "batch/row_lines.h"
#include "batch/row_writer.h"
#include "configs/job_spec.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr size_t kWaitingRows = 256;  // prepared ahead where rows are not leased
constexpr int64_t kProgressRows = 16;

void TellError(TaskChannel& channel, const Error& error) {
  channel.Send({{"t", "error"},
                {"reason", EndReasonOf(TaskExitOf(error.code))},
                {"message", error.message},
                {"hint", error.hint},
                {"file", error.file},
                {"line", error.line},
                {"key", error.key}});
}

BatchRules RulesOf(const BatchSpec& spec) {
  const SamplingSpec& sampling = spec.sampling;
  return {{.max_tokens = sampling.max_tokens,
           .temperature = sampling.temperature,
           .top_p = sampling.top_p,
           .seed = static_cast<uint64_t>(sampling.seed),
           .stop = sampling.stop},
          spec.ModelNames()};
}

// What earlier attempts left, committed or not.
Result<ShardIndex> EarlierRows(const TaskFile& task) {
  ShardIndex index;
  try {
    for (const json& shard : task.shards) {
      const auto name = shard.at("shard").get<std::string>();
      const std::string path = name.empty() ? "" : task.run_dir + "/" + name;
      for (const json& row : shard.at("rows")) {
        ShardRow head;
        head.index = row.at(0).get<int64_t>();
        head.state = row.at(1) == "ok" ? RowState::kOk : RowState::kError;
        LORRY_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(row.at(4).get<std::string>()));
        index.Add(head, {path, row.at(2).get<int64_t>(), row.at(3).get<int64_t>(), digest}, true);
      }
    }
  } catch (const json::exception& e) {
    return MakeError(ErrorCode::kInternal, std::string("task file: shards: ") + e.what());
  }
  LORRY_TRY(index.AddShardsBelow(task.run_dir + "/attempts"));
  return index;
}

class BatchTask {
 public:
  BatchTask(const TaskFile& task, const JobSpec& job, TaskChannel& channel, int rank)
      : task_(task),
        job_(job),
        spec_(*job.batch()),
        channel_(channel),
        rank_(rank),
        rules_(RulesOf(spec_)),
        head_{spec_.adapter.value_or(spec_.model), task.model_created.millis() / 1000} {}

  Status Run();

 private:
  Status Prepare();
  Status KeepToOneArithmetic() const;
  void StartLanes();
  void JoinLanes();
  void FeedAll();
  Status FeedLeases();
  Status Lease(const json& line);
  Status TakeRow(int64_t index, uint64_t epoch);
  void OnResult(EngineResult result);
  void OnDurable(const ShardRow& row, const RowPlace& place);
  void Report(const ShardRow& row, const RowPlace& place, uint64_t epoch);
  void AskForRows();
  void TellProgress(int64_t done);
  Status WriteOutputs();
  // A row's fault is the job's, and ends it at once.
  bool IsStrict() const { return spec_.validation == RowValidation::kStrict; }
  [[noreturn]] void EndNow(const Error& error);

  const TaskFile& task_;
  const JobSpec& job_;
  const BatchSpec& spec_;
  TaskChannel& channel_;
  int rank_;
  BatchRules rules_;
  AnswerHead head_;
  std::optional<LoadedModel> model_;
  std::optional<RowCursor> cursor_;
  ShardIndex earlier_;
  int64_t total_ = 0;
  EngineOptions engine_options_;
  std::unique_ptr<RowFeed> feed_;
  std::unique_ptr<RowWriter> writer_;
  std::vector<std::thread> lanes_;
  std::mutex leases_mutex_;
  std::set<int64_t> leased_;  // rows leased and not yet reported
  bool asked_ = false;        // a rows_wanted line has no answer yet
  bool no_more_ = false;
  std::atomic<int64_t> done_ = 0;
  int64_t done_before_ = 0;  // rows that earlier attempts finished
  std::chrono::steady_clock::time_point computing_since_;
};

// The road of a rank: load, take rows as they are leased, compute, make durable, report; at the end rank 0 assembles.
Status BatchTask::Run() {
  LORRY_TRY(Prepare());
  channel_.Send({{"t", "phase"}, {"phase", "productive"}});
  computing_since_ = std::chrono::steady_clock::now();
  done_before_ = done_;
  StartLanes();
  Status fed = OkStatus();
  if (channel_.interactive()) {
    fed = FeedLeases();
  } else {
    FeedAll();
  }
  feed_->Close();
  JoinLanes();
  writer_->Flush();
  LORRY_TRY(fed);
  return rank_ == 0 ? WriteOutputs() : OkStatus();
}

Status BatchTask::Prepare() {
  const auto input = [this](const char* name) {
    const auto found = task_.inputs.find(name);
    return found == task_.inputs.end() ? std::string() : found->second;
  };
  LORRY_ASSIGN_OR_RETURN(cursor_, RowCursor::Open(input("input"), spec_.prompt.value_or("")));
  LORRY_ASSIGN_OR_RETURN(total_, cursor_->Count());
  LORRY_ASSIGN_OR_RETURN(earlier_, EarlierRows(task_));
  SetLaneThreads(task_.threads_per_lane);  // merging an adapter is a product too: with the threads that the job names
  LORRY_ASSIGN_OR_RETURN(model_, LoadModel({.directory = input("base_model"), .adapter = input("adapter")}));
  if (model_->dtype == "float32") {
    channel_.Send({{"t", "log"}, {"level", "info"}, {"text", "this CPU has no AVX-512 BF16: computing in float32"}});
  }
  LORRY_TRY(KeepToOneArithmetic());
  channel_.Send({{"t", "facts"},
                 {"facts", {{"dtype", model_->dtype}, {"lanes", task_.lanes}, {"threads_per_lane", task_.threads_per_lane}}}});
  engine_options_.end_tokens = model_->end_tokens;
  if (channel_.interactive()) {
    for (const json& shard : task_.shards) done_ += static_cast<int64_t>(shard.value("rows", json::array()).size());
  }
  feed_ = std::make_unique<RowFeed>(channel_.interactive() ? 0 : kWaitingRows);
  LORRY_TRY(MakeDirectories(task_.attempt_dir));
  LORRY_ASSIGN_OR_RETURN(auto shard, ShardWriter::Create(task_.attempt_dir + "/" + ShardFileName(rank_)));
  writer_ = std::make_unique<RowWriter>(
      std::move(shard), [this](const ShardRow& row, const RowPlace& place) { OnDurable(row, place); },
      [this](const Error& error) { EndNow(error); });
  return OkStatus();
}

// All rows of a run are computed in one arithmetic, whichever attempt computes them: it stands in RUN_DIR/arithmetic.json.
Status BatchTask::KeepToOneArithmetic() const {
  const std::string path = task_.run_dir + "/arithmetic.json";
  const json here = {{"arithmetic", model_->arithmetic}, {"threads_per_lane", task_.threads_per_lane}};
  if (earlier_.rows() > 0 && FileExists(path) && !job_.retry.other_device) {
    LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    LORRY_ASSIGN_OR_RETURN(const json before, ParseJson(text));
    if (before == here) return OkStatus();
    return MakeError(ErrorCode::kSpec,
                     fmt::format("rows of this run were computed with {}; here it is {}", before.dump(), here.dump()),
                     "go on where it began, or set retry.other_device: true and give up equal bytes");
  }
  return WriteFileAtomically(path, here.dump() + "\n");
}

void BatchTask::StartLanes() {
  for (int lane = 0; lane < task_.lanes / task_.ranks; ++lane) {
    lanes_.emplace_back([this] {
      SetLaneThreads(task_.threads_per_lane);
      const auto model = model_->new_lane();
      Engine engine(*model, engine_options_, [this](TokenId id) { return model_->tokenizer.TokenBytes(id); });
      const Status status = engine.Run(*feed_, [this](EngineResult result) { OnResult(std::move(result)); });
      if (!status.ok()) EndNow(status.error());
    });
  }
}

void BatchTask::JoinLanes() {
  for (std::thread& lane : lanes_) lane.join();
}

// A task run by hand: all rows, but those that an earlier attempt has finished.
void BatchTask::FeedAll() {
  for (int64_t index = 0; index < total_; ++index) {
    if (earlier_.Find(index)) {
      ++done_;
      continue;
    }
    if (const Status status = TakeRow(index, task_.epoch.value()); !status.ok()) EndNow(status.error());
  }
}

Status BatchTask::FeedLeases() {
  AskForRows();
  while (true) {
    const auto line = channel_.Receive();
    if (!line) ::_exit(static_cast<int>(TaskExit::kInternal));  // the worker is gone, and with it this attempt
    const std::string type = line->value("t", "");
    if (type == "rows") LORRY_TRY(Lease(*line));
    if (type == "no_more_rows") {
      const std::lock_guard lock(leases_mutex_);
      no_more_ = true;
      return OkStatus();
    }
    if (type == "stop") {
      feed_->Abandon();
      if (line->value("mode", "") == "checkpoint") writer_->Flush();
      ::_exit(static_cast<int>(TaskExit::kStopped));
    }
  }
}

Status BatchTask::Lease(const json& line) {
  const auto epoch = line.value("epoch", uint64_t{0});
  std::vector<int64_t> rows;
  {
    const std::lock_guard lock(leases_mutex_);
    asked_ = false;
    for (const json& range : line.value("ranges", json::array())) {
      const auto first = range.at(0).get<int64_t>();
      for (int64_t index = first; index < first + range.at(1).get<int64_t>(); ++index) {
        if (leased_.insert(index).second) rows.push_back(index);
      }
    }
  }
  for (const int64_t index : rows) {
    // Bytes that an attempt left behind when it died are offered, not computed again.
    if (const auto left = earlier_.Find(index)) {
      LORRY_TRY(SyncShard(left->place.shard));
      Report(left->row, left->place, epoch);
      continue;
    }
    LORRY_TRY(TakeRow(index, epoch));
  }
  AskForRows();
  return OkStatus();
}

Status BatchTask::TakeRow(int64_t index, uint64_t epoch) {
  LORRY_ASSIGN_OR_RETURN(const auto row, cursor_->At(index));
  if (!row) return MakeError(ErrorCode::kInternal, fmt::format("row {} was leased, but the input has only {}", index, total_));
  auto prepared = PrepareRow(*row, rules_, model_->tokenizer, model_->chat());
  if (prepared.ok()) {
    prepared->epoch = epoch;
    feed_->Push(std::move(prepared).value());
    return OkStatus();
  }
  if (IsStrict()) EndNow(FaultOfJob(prepared.error(), spec_.input, row->line));
  const RowHead head{row->line, row->form, ""};
  writer_->Put({.index = index, .epoch = epoch, .state = RowState::kError, .line = ErrorLine(row->id, head, prepared.error())});
  return OkStatus();
}

void BatchTask::OnResult(EngineResult result) {
  ShardRow row{.index = result.row.index,
               .epoch = result.row.epoch,
               .prompt_tokens = static_cast<uint32_t>(result.row.prompt.size()),
               .completion_tokens = static_cast<uint32_t>(result.tokens.size()),
               .millis = static_cast<uint32_t>(std::clamp<int64_t>(result.millis, 0, UINT32_MAX))};
  if (result.error && IsStrict()) EndNow(FaultOfJob(*result.error, spec_.input, result.row.head.line));
  if (result.error) {
    row.state = RowState::kError;
    row.line = ErrorLine(result.row.id, result.row.head, *result.error);
  } else {
    row.line = OutputLine(result, CompletionText(result, model_->tokenizer), head_);
  }
  writer_->Put(std::move(row));
}

void BatchTask::OnDurable(const ShardRow& row, const RowPlace& place) { Report(row, place, row.epoch); }

void BatchTask::Report(const ShardRow& row, const RowPlace& place, uint64_t epoch) {
  const std::string shard =
      place.shard.starts_with(task_.run_dir + "/") ? place.shard.substr(task_.run_dir.size() + 1) : place.shard;
  channel_.Send({{"t", "row"},
                 {"index", row.index},
                 {"epoch", epoch},
                 {"state", RowStateName(row.state)},
                 {"shard", shard},
                 {"offset", place.offset},
                 {"length", place.length},
                 {"sha256", place.sha256.hex()},
                 {"prompt_tokens", row.prompt_tokens},
                 {"completion_tokens", row.completion_tokens},
                 {"millis", row.millis}});
  {
    const std::lock_guard lock(leases_mutex_);
    leased_.erase(row.index);
  }
  const int64_t done = ++done_;
  if (done % kProgressRows == 0 || done == total_) TellProgress(done);
  if (channel_.interactive()) AskForRows();
}

void BatchTask::TellProgress(int64_t done) {
  const double minutes =
      std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now() - computing_since_).count();
  const double rate = minutes > 0 ? static_cast<double>(done - done_before_) / minutes : 0;
  channel_.Send({{"t", "progress"}, {"done", done}, {"total", total_}, {"rows_per_minute", rate}});
}

// Keeps about twice as many rows at hand as the lanes compute at once; one question at a time.
void BatchTask::AskForRows() {
  const int64_t at_once = engine_options_.max_rows * (task_.lanes / task_.ranks);
  const std::lock_guard lock(leases_mutex_);
  const auto held = static_cast<int64_t>(leased_.size());
  if (asked_ || no_more_ || held > at_once) return;
  asked_ = true;
  channel_.Send({{"t", "rows_wanted"}, {"count", 2 * at_once - held}, {"total", total_}});
}

Status BatchTask::WriteOutputs() {
  // The rows of this attempt's ranks lie in shards that did not exist when the earlier ones were read.
  LORRY_TRY(earlier_.AddShardsBelow(task_.run_dir + "/attempts"));
  const std::string directory = task_.attempt_dir + "/output";
  LORRY_ASSIGN_OR_RETURN(const AssembledBatch batch,
                         AssembleBatch(*cursor_, earlier_,
                                       {.directory = directory,
                                        .title = job_.name,
                                        .evaluate = spec_.evaluate.has_value(),
                                        .reference_field = spec_.evaluate ? spec_.evaluate->reference : ""}));
  if (IsStrict() && batch.errors > 0) {
    return MakeError(ErrorCode::kData, fmt::format("{} rows were given up, and the job is validation: strict", batch.errors));
  }
  channel_.Send({{"t", "output"}, {"name", "output"}, {"path", directory + "/output.jsonl"}});
  channel_.Send({{"t", "output"}, {"name", "errors"}, {"path", directory + "/errors.jsonl"}});
  if (batch.has_report) {
    channel_.Send({{"t", "output"}, {"name", "report"}, {"path", directory + "/report.json"}});
    channel_.Send({{"t", "output"}, {"name", "report_html"}, {"path", directory + "/report.html"}});
  }
  return OkStatus();
}

void BatchTask::EndNow(const Error& error) {
  TellError(channel_, error);
  ::_exit(static_cast<int>(TaskExitOf(error.code)));
}

Status RunJob(const TaskFile& task, TaskChannel& channel, int rank) {
  LORRY_ASSIGN_OR_RETURN(const JobSpec job, JobFromJson(task.job));
  if (job.batch() == nullptr) {
    return MakeError(ErrorCode::kSpec, fmt::format("lorry-batch does not carry out kind: {}", job.kind()));
  }
  return BatchTask(task, job, channel, rank).Run();
}

}  // namespace

TaskExit RunTask(const std::string& path) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto task = TaskFile::Read(path);
  if (!task.ok()) {
    fmt::print(stderr, "lorry-batch: {}\n", task.error().Format());
    return TaskExitOf(task.error().code);
  }
  const int rank = RankFromEnvironment();
  auto channel = TaskChannel::Connect(task->socket, rank);
  if (!channel.ok()) {
    fmt::print(stderr, "lorry-batch: {}\n", channel.error().Format());
    return TaskExit::kInternal;
  }
  channel->Send({{"t", "phase"}, {"phase", "startup"}});
  if (const Status status = RunJob(*task, *channel, rank); !status.ok()) {
    TellError(*channel, status.error());
    return TaskExitOf(status.error().code);
  }
  channel->Send({{"t", "done"}});
  return TaskExit::kDone;
}

}  // namespace lorry
