#include "worker/outbox.h"

namespace lorry {
namespace {
constexpr int64_t kSayAgainMillis = 10'000;
}

void Outbox::BeginSession(uint64_t session) {
  session_ = session;
  ++sessions_;
  sequence_ = 0;
  for (auto& [request, kept] : kept_) kept.said_at = kNever;
}

bool Outbox::Say(uint64_t request, const Encode& encode, Epoch epoch) {
  if (!in_session()) return false;
  wire::Header header;
  header.session = session_;
  header.epoch = epoch.value();
  header.sequence = ++sequence_;
  header.request = request;
  return link_->Send(encode(header)).ok();
}

void Outbox::Flush(int64_t monotonic_ms) {
  if (!in_session()) return;
  for (auto& [request, kept] : kept_) {
    if (kept.said_at != kNever && monotonic_ms - kept.said_at < kSayAgainMillis) continue;
    if (!Say(request, kept.encode, kept.epoch)) return;  // no connection, or its queue is full: the next flush goes on here
    kept.said_at = monotonic_ms;
  }
}

Status Outbox::SayHello(const wire::Hello& hello) {
  wire::Header header;
  header.request = ++last_request_;
  return link_->Send(wire::EncodeMessage(header, hello));
}

}  // namespace lorry
