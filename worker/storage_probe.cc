#include "worker/storage_probe.h"

#include <utility>

#include <fmt/format.h>

#include "base/files.h"

namespace lorry {
namespace {

constexpr int64_t kLeastFreeBytes = int64_t{64} << 20;
constexpr int64_t kEveryMillis = 3000;

std::string StorageProblem(const std::string& home) {
  const auto free = FreeBytes(home);
  if (!free.ok()) return free.error().message;
  if (free->count() < kLeastFreeBytes) return fmt::format("{} left on the disk of {}", FormatSize(*free), home);
  const Status written = WriteFileAtomically(home + "/worker/probe", "lorry\n");
  return written.ok() ? "" : written.error().message;
}

}  // namespace

StorageProbe::StorageProbe(std::string home, Background* background)
    : home_(std::move(home)), background_(background), problem_(StorageProblem(home_)) {}

void StorageProbe::Tick(int64_t monotonic_ms) {
  if (trying_ || monotonic_ms - tried_at_ < kEveryMillis) return;
  tried_at_ = monotonic_ms;
  trying_ = true;
  background_->Do([this, home = home_]() -> Background::Then {
    return [this, found = StorageProblem(home)] {
      problem_ = found;
      trying_ = false;
    };
  });
}

}  // namespace lorry
