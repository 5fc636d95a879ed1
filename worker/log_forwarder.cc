#include "worker/log_forwarder.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "base/files.h"

namespace lorry {
namespace {
constexpr int64_t kAgainMillis = 5000;  // an answer that took longer was lost with its session
}

LogForwarder::LogForwarder(wire::AttemptRef attempt, std::string log_dir, uint32_t ranks, Outbox* outbox)
    : attempt_(std::move(attempt)), log_dir_(std::move(log_dir)), outbox_(outbox) {
  for (uint32_t rank = 0; rank < ranks; ++rank) ranks_[rank] = {};
}

void LogForwarder::Forward(int64_t monotonic_ms) {
  if (!outbox_->in_session()) return;
  for (auto& [number, rank] : ranks_) {
    const bool on_its_way = rank.said > rank.acknowledged && monotonic_ms - rank.said_at < kAgainMillis;
    if (on_its_way) continue;
    std::ifstream in(PathOf(number), std::ios::binary | std::ios::ate);
    if (!in) continue;
    const auto size = static_cast<uint64_t>(in.tellg());
    if (size <= rank.acknowledged) continue;
    std::string bytes(std::min(size - rank.acknowledged, wire::kLogWindowBytes), '\0');
    in.seekg(static_cast<std::streamoff>(rank.acknowledged));
    if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) continue;
    rank.said = rank.acknowledged + bytes.size();
    rank.said_at = monotonic_ms;
    outbox_->Post(wire::LogBytes{.attempt = attempt_, .rank = number, .offset = rank.acknowledged, .bytes = std::move(bytes)},
                  attempt_.epoch);
  }
}

std::string LogForwarder::PathOf(uint32_t rank) const { return fmt::format("{}/rank-{}.log", log_dir_, rank); }

bool LogForwarder::AllThere() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [this](const auto& entry) {
    const auto size = FileSize(PathOf(entry.first));
    return !size.ok() || static_cast<uint64_t>(size->count()) <= entry.second.acknowledged;
  });
}

void LogForwarder::OnAck(const wire::LogAck& ack) {
  const auto found = ranks_.find(ack.rank);
  if (found != ranks_.end()) found->second.acknowledged = ack.next_offset;
}

}  // namespace lorry
