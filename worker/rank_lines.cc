// What the ranks say and what the scheduler answers: the half of RankAttempt (rank_attempt.h) that runs while ranks do.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "worker/blob_cache.h"
#include "worker/rank_attempt.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr size_t kRowsInOneReport = 1000;
constexpr int64_t kProgressEveryMillis = 500;

// A key of a rank's line, or what to take where it is missing or of another type: a rank's mistake in a line for people is no
// reason to end it.
std::string TextOf(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : "";
}

uint64_t WholeOf(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// A path as a rank names it, below `base` where it is relative.
std::string Below(const std::string& base, const std::string& path) { return path.starts_with('/') ? path : base + "/" + path; }

// A path relative to the run's folder, as everybody but the rank knows it.
std::string RelativeTo(const std::string& run_dir, const std::string& path) {
  if (!path.starts_with('/')) return path;
  return std::filesystem::path(path).lexically_relative(run_dir).generic_string();
}

}  // namespace

void RankAttempt::Watch(Poller* poller, uint64_t name) const {
  if (socket_ == nullptr) return;
  for (const int fd : socket_->fds()) poller->Watch(fd, name);
}

void RankAttempt::OnReadable() {
  if (socket_ == nullptr) return;
  for (const RankLine& line : socket_->Read()) OnLine(line);
  SayRows();
}

void RankAttempt::OnLine(const RankLine& said) {
  const json& line = said.line;
  const std::string t = TextOf(line, "t");
  if (t == "hello") return OnHello(said.rank);
  if (t == "phase") return OnPhase(said.rank, line);
  if (t == "checkpoint") return OnCheckpoint(line);
  if (t == "row") return OnRow(line);
  if (t == "rows_wanted") return OnRowsWanted(said.rank, line);
  if (t == "output") return OnOutput(line);
  if (t == "error") return OnFault(line);
  if (t == "log") return OnLog(said.rank, line);
  if (t == "facts" && line.contains("facts")) facts_json_ = line["facts"].dump();
  if (t == "done" && said.rank == 0) done_ = true;
  if (t == "progress") {
    progress_.done = WholeOf(line, "done");
    progress_.total = WholeOf(line, "total");
    if (line.contains("rows_per_minute")) progress_.lines += line.dump() + "\n";  // a point of the batch's curve
    progress_changed_ = true;
  }
  if (t == "step" || t == "eval") {
    progress_.lines += line.dump() + "\n";
    if (t == "step") progress_.done = WholeOf(line, "step"), progress_.total = WholeOf(line, "steps");
    progress_changed_ = true;
  }
}

void RankAttempt::OnHello(int rank) {
  // Ranks under mpirun are not our children: what they are called is known from here on.
  const auto pid = socket_->processes().find(rank);
  if (pid != socket_->processes().end()) {
    held_->Put(processes_.size() + static_cast<size_t>(rank), pid->second);
    if (const auto ticks = ProcessStartTicks(pid->second)) ranks_[pid->second] = *ticks;
  }
  if (no_more_rows_) socket_->Send(rank, {{"t", "no_more_rows"}});
  if (stopping()) socket_->Send(rank, {{"t", "stop"}, {"mode", "checkpoint"}});
}

void RankAttempt::OnPhase(int rank, const json& line) {
  const auto usage_class = ParseUsageClass(TextOf(line, "phase"));
  if (!usage_class.ok()) return;
  // While it is asked to end, only a checkpoint is more than waiting for the end.
  const UsageClass counted = stopping() && *usage_class != UsageClass::kCheckpoint ? UsageClass::kDrain : *usage_class;
  const auto ranks = static_cast<size_t>(job_.resources.Ranks());
  const size_t devices = meter_.devices();
  const auto mine = static_cast<size_t>(rank);
  for (size_t device = mine * devices / ranks; device < (mine + 1) * devices / ranks; ++device) {
    meter_.SetClass(device, counted, Now());
  }
  if (rank == 0) progress_.phase = TextOf(line, "phase"), progress_changed_ = true;
}

void RankAttempt::OnCheckpoint(const json& line) {
  wire::CheckpointRef checkpoint;
  checkpoint.step = WholeOf(line, "step");
  checkpoint.path = RelativeTo(RunDir(), TextOf(line, "path"));
  auto digest = Digest::FromHex(TextOf(line, "digest"));
  if (checkpoint.path.empty() || !digest.ok()) return spdlog::warn("{}: a checkpoint line without path or digest", ref().run);
  checkpoint.digest = *digest;
  const auto say = [](RankAttempt* self, const wire::CheckpointRef& whole) {
    if (self->over()) return;
    const uint64_t request =
        self->around_.outbox->Keep(wire::Checkpoint{.attempt = self->ref(), .checkpoint = whole}, self->ref().epoch);
    self->checkpoints_said_[request] = whole.step;
  };
  if (*around_.shares_home) return say(this, checkpoint);
  ++checkpoints_on_their_way_;
  InBackground(
      this,
      [home = around_.options->home, path = RunDir() + "/" + checkpoint.path] { return StoreOutput(home, "checkpoint", path); },
      [checkpoint, say](RankAttempt* self, Result<wire::Output> stored) {
        if (!stored.ok()) {
          --self->checkpoints_on_their_way_;
          return spdlog::warn("{}: {}", self->ref().run, stored.error().Format());
        }
        wire::CheckpointRef whole = checkpoint;
        whole.files = stored->files;
        std::weak_ptr<Attempt> weak = self->weak_from_this();
        self->around_.mover->Send(stored->files, [self, weak, whole, say](const Status& sent) {
          if (weak.expired()) return;
          --self->checkpoints_on_their_way_;
          if (sent.ok()) say(self, whole);
        });
      });
}

void RankAttempt::OnRow(const json& line) {
  auto digest = Digest::FromHex(TextOf(line, "sha256"));
  if (!digest.ok() || TextOf(line, "shard").empty()) return spdlog::warn("{}: a row line without shard or sha256", ref().run);
  rows_to_say_.push_back({.row = RowIndex(WholeOf(line, "index")),
                          .state = TextOf(line, "state") == "error" ? wire::RowState::kError : wire::RowState::kOk,
                          .attempt = ref().attempt,
                          .shard = RelativeTo(RunDir(), TextOf(line, "shard")),
                          .offset = WholeOf(line, "offset"),
                          .length = WholeOf(line, "length"),
                          .digest = *digest,
                          .prompt_tokens = static_cast<uint32_t>(WholeOf(line, "prompt_tokens")),
                          .completion_tokens = static_cast<uint32_t>(WholeOf(line, "completion_tokens")),
                          .millis = static_cast<uint32_t>(WholeOf(line, "millis"))});
  if (rows_to_say_.size() >= kRowsInOneReport) SayRows();
}

void RankAttempt::SayRows() {
  if (rows_to_say_.empty()) return;
  std::vector<uint64_t> rows;
  for (const wire::RowReport& report : rows_to_say_) rows.push_back(report.row.value());
  const uint64_t request = around_.outbox->Keep(wire::RowReports{.attempt = ref(), .rows = std::move(rows_to_say_)}, ref().epoch);
  rows_to_say_.clear();
  rows_said_[request] = std::move(rows);
}

void RankAttempt::OnRowsWanted(int rank, const json& line) {
  if (WholeOf(line, "total") != 0) rows_total_ = WholeOf(line, "total");
  if (no_more_rows_) return socket_->Send(rank, {{"t", "no_more_rows"}});
  rows_wanted_.emplace_back(rank, static_cast<uint32_t>(WholeOf(line, "count")));
  AskForMoreRows();
}

void RankAttempt::AskForMoreRows() {
  if (question_.open() || rows_wanted_.empty() || no_more_rows_) return;
  SayRows();  // what is done is known before more is asked for
  question_.Ask(
      wire::RowsWanted{.attempt = ref(), .count = rows_wanted_.front().second, .total = rows_total_, .held = rows_held_.Ranges()},
      ref().epoch, SystemClock().MonotonicMillis());
}

void RankAttempt::OnRowLease(const wire::RowLease& lease) {
  if (socket_ == nullptr) return;
  if (lease.no_more) {
    no_more_rows_ = true;
    rows_wanted_.clear();
    return socket_->SendAll({{"t", "no_more_rows"}});
  }
  if (rows_wanted_.empty() || lease.ranges.empty()) return;  // the next tick asks again
  json ranges = json::array();
  for (const wire::Range& range : lease.ranges) {
    rows_held_.Add(range);
    ranges.push_back({range.first, range.count});
  }
  socket_->Send(rows_wanted_.front().first, {{"t", "rows"}, {"epoch", ref().epoch.value()}, {"ranges", std::move(ranges)}});
  rows_wanted_.pop_front();
  AskForMoreRows();
}

void RankAttempt::OnOutput(const json& line) {
  const std::string path = TextOf(line, "path");
  if (!path.empty()) outputs_.emplace_back(TextOf(line, "name"), Below(AttemptDir(), path));
}

void RankAttempt::OnFault(const json& line) {
  if (fault_) return;
  auto reason = ParseEndReason(TextOf(line, "reason"));
  ReportedFault fault;
  if (reason.ok() && *reason != EndReason::kNone && *reason != EndReason::kDone) fault.reason = *reason;
  fault.detail.code = static_cast<uint8_t>(fault.reason == EndReason::kSpecError ? ErrorCode::kSpec : ErrorCode::kData);
  fault.detail.message = TextOf(line, "message");
  fault.detail.hint = TextOf(line, "hint");
  fault.detail.file = TextOf(line, "file");
  fault.detail.line = static_cast<int32_t>(WholeOf(line, "line"));
  fault.detail.key = TextOf(line, "key");
  fault_ = std::move(fault);
}

void RankAttempt::OnLog(int rank, const json& line) {
  std::ofstream log(fmt::format("{}/rank-{}.log", AttemptDir(), rank), std::ios::app);
  log << fmt::format("{} {}: {}\n", FormatUtc(Now()), TextOf(line, "level"), TextOf(line, "text"));
}

bool RankAttempt::OnMessage(const wire::Message& message) {
  const uint64_t request = message.header.request;
  if (row_page_ != 0 && request == row_page_) {
    around_.outbox->Answered(request);
    row_page_ = 0;
    const auto page = wire::DecodeReply<wire::RowPage>(message);
    if (page.ok()) {
      TakeRows(*page);
    } else {
      FinishWith(Because("asking for the committed rows", page.error()));
    }
    return true;
  }
  if (question_.IsAnswered(request)) {
    const auto lease = wire::DecodeReply<wire::RowLease>(message);
    if (lease.ok()) {
      OnRowLease(*lease);
    } else {
      spdlog::warn("{}: {}", ref().run, lease.error().Format());
    }
    return true;
  }
  if (const auto said = rows_said_.find(request); said != rows_said_.end()) {
    around_.outbox->Answered(request);
    rows_held_.Remove(said->second);
    rows_said_.erase(said);
    return true;
  }
  if (const auto said = checkpoints_said_.find(request); said != checkpoints_said_.end()) {
    around_.outbox->Answered(request);
    const auto committed = wire::DecodeReply<wire::CheckpointCommitted>(message);
    if (committed.ok() && committed->accepted && socket_ != nullptr) {
      socket_->SendAll({{"t", "checkpoint_committed"}, {"step", said->second}});
    }
    checkpoints_said_.erase(said);
    return true;
  }
  return Attempt::OnMessage(message);
}

void RankAttempt::SayProgress() {
  if (!progress_changed_ || !around_.outbox->in_session()) return;
  progress_.attempt = ref();
  around_.outbox->Post(progress_, ref().epoch);
  progress_.lines.clear();
  progress_changed_ = false;
  progress_said_at_ = SystemClock().MonotonicMillis();
}

void RankAttempt::OnTick(int64_t monotonic_ms) {
  Attempt::OnTick(monotonic_ms);
  question_.IsLost(monotonic_ms);
  AskForMoreRows();
  if (monotonic_ms - progress_said_at_ >= kProgressEveryMillis) SayProgress();
  FinishWhenSaid(monotonic_ms);
  if (socket_ != nullptr) socket_->Flush();
}

}  // namespace lorry
