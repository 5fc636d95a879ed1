#include "worker/command_attempt.h"

#include <algorithm>
#include <csignal>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "worker/launch.h"

namespace lorry {
namespace {

constexpr uint64_t kNoOpsAtOnce = 8192;
constexpr uint64_t kElementsPerSlot = 32;  // leased ahead, so that a slot never waits for an answer
constexpr size_t kReportsOnTheirWay = 4;
constexpr int kMostLosses = 3;  // an element that signals from outside ended this often has failed

int StatusOf(const ProcessEnd& end) { return end.signal != 0 ? 128 + end.signal : end.exit_status; }

}  // namespace

void CommandAttempt::Begin() {
  const auto parsed = ParseJson(grant_.job_json);
  if (!parsed.ok()) return FinishWith(Because("the job of the grant", parsed.error()));
  const auto job = JobFromJson(*parsed);
  if (!job.ok()) return FinishWith(job.error());
  if (job->command() == nullptr || job->command()->argv.empty()) {
    return FinishWith(MakeError(ErrorCode::kSpec, "the job has no argv"));
  }
  command_ = *job->command();
  devices_per_slot_ = std::max<int64_t>(1, job->resources.Devices());
  slots_.resize(std::max<size_t>(1, grant_.devices.size() / static_cast<size_t>(devices_per_slot_)));
  if (!is_array()) slots_.resize(1);
  kills_before_ = OutOfMemoryKills();
  if (Status made = MakeDirectories(AttemptDir()); !made.ok()) return FinishWith(made.error());
  auto held = HeldProcesses::Open(around_.options->home, ref().run, ref().attempt);
  if (!held.ok()) return FinishWith(held.error());
  held_.emplace(std::move(*held));
  ForwardLogs(1);
  meter_.SetAll(UsageClass::kProductive, Now());
  if (!is_array()) {
    no_more_ = true;
    leased_.push_back({0, 1});
  }
  Pump();
}

uint64_t CommandAttempt::waiting() const {
  uint64_t count = 0;
  for (const wire::Range& range : leased_) count += range.count;
  return count;
}

uint64_t CommandAttempt::TakeElement() {
  wire::Range& range = leased_.front();
  const uint64_t element = range.first++;
  if (--range.count == 0) leased_.pop_front();
  return element;
}

void CommandAttempt::Pump() {
  if (finished()) return;
  if (!stopping() && !cannot_start_) command_.IsNoOp() ? RunNoOps() : StartElements();
  AskForMore();
  SayElements();
  if (!stopping()) {
    meter_.SetAll(is_idle() && leased_.empty() && !no_more_ ? UsageClass::kIdleLease : UsageClass::kProductive, Now());
  }
  FinishIfDone();
}

void CommandAttempt::RunNoOps() {
  if (said_.size() >= kReportsOnTheirWay) return;  // no further ahead of what is durable
  const Instant now = Now();
  for (uint64_t i = 0; i < kNoOpsAtOnce && !leased_.empty(); ++i) {
    const uint64_t element = TakeElement();
    to_say_.started.push_back({element, now});
    OnEnd({.process = std::nullopt, .element = element}, {});
  }
}

void CommandAttempt::StartElements() {
  for (size_t slot = 0; slot < slots_.size() && !leased_.empty(); ++slot) {
    if (slots_[slot].process) continue;
    const uint64_t element = TakeElement();
    if (Status started = StartIn(slot, element); !started.ok()) {
      cannot_start_ = started.error();
      leased_.clear();
      no_more_ = true;
      return;
    }
  }
}

Status CommandAttempt::StartIn(size_t slot, uint64_t element) {
  SpawnOptions options;
  options.argv = command_.argv;
  options.cwd = AttemptDir();
  options.env = {{"LORRY_RUN", ref().run.str()}, {"LORRY_ATTEMPT", std::to_string(ref().attempt.value())}};
  if (is_array()) options.env["LORRY_ELEMENT"] = std::to_string(element);
  std::string gpus;
  const size_t first = slot * static_cast<size_t>(devices_per_slot_);
  for (size_t i = first; i < std::min(grant_.devices.size(), first + static_cast<size_t>(devices_per_slot_)); ++i) {
    const std::string& device = grant_.devices[i].str();
    if (device.find("/cpu-") == std::string::npos) gpus += (gpus.empty() ? "" : ",") + device;
  }
  options.env["CUDA_VISIBLE_DEVICES"] = gpus;
  options.stdout_path = options.stderr_path = AttemptDir() + "/rank-0.log";
  LORRY_ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(options));
  held_->Put(slot, process.pid());
  slots_[slot] = {std::move(process), element, false};
  ++running_;
  if (is_array()) to_say_.started.push_back({element, Now()});
  return OkStatus();
}

void CommandAttempt::OnChildExit() {
  TakeEnds();
  Pump();
}

void CommandAttempt::TakeEnds() {
  for (Slot& slot : slots_) {
    if (!slot.process) continue;
    const std::optional<ProcessEnd> end = slot.process->Poll();
    if (!end) continue;
    ::kill(-slot.process->pid(), SIGKILL);  // what the program left in its group
    slot.process.reset();
    --running_;
    OnEnd(slot, *end);
  }
}

void CommandAttempt::OnEnd(const Slot& slot, const ProcessEnd& end) {
  if (!is_array()) {
    single_told_to_end_ = slot.told_to_end;
    return single_end_.push_back(end);
  }
  const bool from_outside = end.signal != 0 && !IsOwnSignal(end.signal);
  if (slot.told_to_end) return;  // we ended it, whatever its status says: it has not been, and is leased again
  if (from_outside && ++lost_[slot.element] < kMostLosses) return leased_.push_front({slot.element, 1});
  const wire::ElementEnd report{.element = slot.element, .at = Now(), .status = StatusOf(end)};
  to_say_.ended.push_back(report);
  if (report.status == 0) return;
  ++failed_;
  if (!first_failure_) first_failure_ = report;
}

void CommandAttempt::SayElements() {
  if ((to_say_.started.empty() && to_say_.ended.empty()) || said_.size() >= kReportsOnTheirWay) return;
  to_say_.attempt = ref();
  std::vector<uint64_t> ended;
  ended.reserve(to_say_.ended.size());
  for (const wire::ElementEnd& end : to_say_.ended) ended.push_back(end.element);
  said_[around_.outbox->Keep(std::move(to_say_), ref().epoch)] = std::move(ended);
  to_say_ = {};
}

void CommandAttempt::AskForMore() {
  if (!is_array() || question_.open() || no_more_ || stopping()) return;
  const uint64_t most = command_.IsNoOp() ? 2 * kNoOpsAtOnce : kElementsPerSlot * slots_.size();
  const uint64_t here = waiting();
  if (here > most / 2) return;
  question_.Ask(
      wire::ElementsWanted{.attempt = ref(), .count = static_cast<uint32_t>(most - here), .held = elements_held_.Ranges()},
      ref().epoch, SystemClock().MonotonicMillis());
}

void CommandAttempt::FinishIfDone() {
  const bool all_ended = is_idle() && (stopping() || (no_more_ && leased_.empty()));
  if (!all_ended || !said_.empty() || !to_say_.ended.empty() || !to_say_.started.empty()) return;
  held_.reset();
  if (cannot_start_) {
    const bool users = cannot_start_->code == ErrorCode::kNotFound || cannot_start_->code == ErrorCode::kNotAllowed;  // its argv
    return users ? Finish(EndReason::kUserError, wire::ErrorDetail::Of(*cannot_start_)) : FinishWith(*cannot_start_);
  }
  if (!is_array()) {
    EndEvidence evidence{.command = true, .processes = single_end_, .out_of_memory_kills = OutOfMemoryKills() > kills_before_};
    if (single_told_to_end_) evidence.asked_to_stop = stop_reason();
    const EndVerdict verdict = JudgeEnd(evidence);
    return Finish(verdict.reason, verdict.detail);
  }
  if (stopping()) return Finish(stop_reason(), {});
  if (failed_ == 0) return Finish(EndReason::kDone, {});
  Finish(EndReason::kUserError,
         wire::ErrorDetail::Of(
             MakeError(ErrorCode::kData, fmt::format("{} elements failed; the first was element {}, with exit status {}", failed_,
                                                     first_failure_->element, first_failure_->status))));
}

void CommandAttempt::AskToEnd(bool now) {
  TakeEnds();  // what has ended by itself was not ended by this stop
  for (Slot& slot : slots_) {
    if (!slot.process) continue;
    slot.told_to_end = true;
    slot.process->Signal(now ? SIGKILL : SIGTERM);
  }
  Pump();
}

void CommandAttempt::KillAll() {
  for (Slot& slot : slots_) {
    if (slot.process) slot.process->Signal(SIGKILL);
  }
}

bool CommandAttempt::OnMessage(const wire::Message& message) {
  const uint64_t request = message.header.request;
  if (const auto said = said_.find(request); said != said_.end()) {
    around_.outbox->Answered(request);
    elements_held_.Remove(said->second);
    said_.erase(said);
    Pump();
    return true;
  }
  if (question_.IsAnswered(request)) {
    const auto lease = wire::DecodeReply<wire::ElementLease>(message);
    if (!lease.ok()) {
      spdlog::warn("{}: {}", ref().run, lease.error().Format());
      return true;
    }
    for (const wire::Range& range : lease->ranges) elements_held_.Add(range);
    leased_.insert(leased_.end(), lease->ranges.begin(), lease->ranges.end());
    std::erase_if(leased_, [](const wire::Range& range) { return range.count == 0; });
    no_more_ = lease->no_more;
    if (no_more_ || !lease->ranges.empty()) Pump();  // after an empty lease the next tick asks again
    return true;
  }
  return Attempt::OnMessage(message);
}

void CommandAttempt::OnTick(int64_t monotonic_ms) {
  Attempt::OnTick(monotonic_ms);
  question_.IsLost(monotonic_ms);
  if (!slots_.empty()) Pump();
}

}  // namespace lorry
