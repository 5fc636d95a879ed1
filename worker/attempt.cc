#include "worker/attempt.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace lorry {

EndReason EndReasonOfError(const Error& error) {
  switch (error.code) {
    case ErrorCode::kStorage:
    case ErrorCode::kNotAllowed:
      return EndReason::kStorage;
    case ErrorCode::kBudget:  // a process could not be made (base/process.h)
      return EndReason::kNoCapacity;
    case ErrorCode::kOutOfMemory:
      return EndReason::kOutOfMemory;
    case ErrorCode::kData:
      return EndReason::kDataError;
    case ErrorCode::kSpec:
    case ErrorCode::kUnsupported:
      return EndReason::kSpecError;
    default:
      return EndReason::kInternal;
  }
}

namespace {
constexpr int64_t kLogsGraceMillis = 60'000;  // for what is left of the logs once the scheduler knows the end
}

Attempt::Attempt(wire::Grant grant, const std::vector<MeteredDevice>& devices, const AttemptSurroundings& around)
    : grant_(std::move(grant)), around_(around), meter_(devices, around.clock->Now()) {}

std::string Attempt::RunDir() const { return fmt::format("{}/runs/{}", around_.options->home, ref().run); }

std::string Attempt::AttemptDir() const { return fmt::format("{}/attempts/{}", RunDir(), ref().attempt); }

void Attempt::Stop(const wire::Stop& stop) {
  if (finished()) return;
  const bool now = stop.mode == wire::StopMode::kNow || stop.grace_ms == 0;
  if (stop_ && !now) return;
  stop_ = stop;
  kill_at_ = SystemClock().MonotonicMillis() + (now ? 0 : stop.grace_ms);
  meter_.SetAll(UsageClass::kDrain, Now());
  AskToEnd(now);
}

void Attempt::Abandon() {
  KillAll();
  around_.outbox->Forget(ref().epoch);
  over_ = true;
}

void Attempt::ForwardLogs(uint32_t ranks) {
  if (!*around_.shares_home) logs_ = std::make_unique<LogForwarder>(ref(), AttemptDir(), ranks, around_.outbox);
}

void Attempt::OnTick(int64_t monotonic_ms) {
  if (logs_ != nullptr) logs_->Forward(monotonic_ms);
  if (reported_) over_ = over_ || logs_ == nullptr || logs_->AllThere() || monotonic_ms >= logs_until_;
  if (kill_at_ == 0 || finished() || monotonic_ms < kill_at_) return;
  kill_at_ = 0;
  KillAll();
}

void Attempt::Finish(EndReason reason, wire::ErrorDetail error, std::vector<wire::Output> outputs, std::string facts_json) {
  if (finished() || over_) return;
  if (reason == EndReason::kStorage) around_.storage->Doubt();
  meter_.End(Now());
  Meter::Piece rest = meter_.Unsettled(Now());
  spdlog::info("{} attempt {}: {}{}{}", ref().run, ref().attempt, EndReasonName(reason), error.message.empty() ? "" : ": ",
               error.message);
  finished_request_ = around_.outbox->Keep(wire::Finished{.attempt = ref(),
                                                          .reason = reason,
                                                          .error = std::move(error),
                                                          .outputs = std::move(outputs),
                                                          .first_span = rest.first_span,
                                                          .spans = std::move(rest.spans),
                                                          .facts_json = std::move(facts_json)},
                                           ref().epoch);
}

void Attempt::FinishWith(const Error& error) { Finish(EndReasonOfError(error), wire::ErrorDetail::Of(error)); }

bool Attempt::OnMessage(const wire::Message& message) {
  if (message.header.type == wire::Type::kLogAck && logs_ != nullptr) {
    const auto ack = wire::DecodeBody<wire::LogAck>(message);
    if (!ack.ok() || !(ack->attempt == ref())) return false;
    logs_->OnAck(*ack);
    return true;
  }
  if (!finished() || message.header.request != finished_request_) return false;
  around_.outbox->Answered(finished_request_);
  reported_ = true;
  logs_until_ = SystemClock().MonotonicMillis() + kLogsGraceMillis;
  return true;
}

}  // namespace lorry
