#include "scheduler/log_desk.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "base/files.h"

namespace lorry {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File OpenFile(const std::string& path, const char* mode) { return File(std::fopen(path.c_str(), mode), &std::fclose); }

constexpr uint32_t kMostBytes = 1 << 20;

}  // namespace

std::string LogDesk::PathOf(const RunId& run, AttemptNumber attempt, uint32_t rank) const {
  return fmt::format("{}/runs/{}/attempts/{}/rank-{}.log", home_, run, attempt, rank);
}

Result<wire::LogAck> LogDesk::Take(const wire::LogBytes& bytes) {
  const std::string path = PathOf(bytes.attempt.run, bytes.attempt.attempt, bytes.rank);
  LORRY_TRY(MakeDirectories(path.substr(0, path.rfind('/'))));
  auto size = FileSize(path);
  const uint64_t have = size.ok() ? static_cast<uint64_t>(size->count()) : 0;
  wire::LogAck ack{bytes.attempt, bytes.rank, have};
  if (bytes.offset > have || bytes.offset + bytes.bytes.size() <= have) return ack;
  File file = OpenFile(path, "ab");
  if (file == nullptr) return ErrnoError("cannot write", path);
  const std::string_view fresh = std::string_view(bytes.bytes).substr(have - bytes.offset);
  ack.next_offset = have + std::fwrite(fresh.data(), 1, fresh.size(), file.get());
  return ack;
}

void LogDesk::AppendMetrics(const RunId& run, const std::string& lines) {
  const std::string directory = fmt::format("{}/runs/{}", home_, run);
  if (lines.empty() || !MakeDirectories(directory).ok()) return;
  File file = OpenFile(directory + "/metrics.jsonl", "ab");
  if (file != nullptr) std::fwrite(lines.data(), 1, lines.size(), file.get());
}

std::string LogDesk::Read(const RunId& run, AttemptNumber attempt, uint32_t rank, uint64_t offset, uint32_t max_bytes) const {
  File file = OpenFile(PathOf(run, attempt, rank), "rb");
  if (file == nullptr || std::fseek(file.get(), static_cast<long>(offset), SEEK_SET) != 0) return "";
  std::string bytes(std::min(max_bytes, kMostBytes), '\0');
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file.get()));
  return bytes;
}

std::string LogDesk::Tail(const RunId& run, AttemptNumber attempt, uint32_t rank, uint32_t max_bytes) const {
  const auto size = FileSize(PathOf(run, attempt, rank));
  const uint64_t have = size.ok() ? static_cast<uint64_t>(size->count()) : 0;
  if (have <= max_bytes) return Read(run, attempt, rank, 0, max_bytes);
  // One byte more, so that a tail which begins with a whole line keeps it.
  std::string bytes = Read(run, attempt, rank, have - max_bytes - 1, max_bytes + 1);
  const size_t line_end = bytes.find('\n');
  bytes.erase(0, line_end < bytes.size() - 1 ? line_end + 1 : 1);
  return bytes;
}

}  // namespace lorry
