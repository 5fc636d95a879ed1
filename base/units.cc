#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <ctime>
#include <limits>

namespace lorry {
namespace {

struct Suffix {
  std::string_view text;
  int64_t factor;
};

constexpr std::array<Suffix, 4> kDurations = {{{"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
constexpr std::array<Suffix, 9> kSizes = {{{"B", 1},
                                           {"KB", 1000},
                                           {"MB", 1000'000},
                                           {"GB", 1000'000'000},
                                           {"TB", 1000'000'000'000},
                                           {"KiB", 1LL << 10},
                                           {"MiB", 1LL << 20},
                                           {"GiB", 1LL << 30},
                                           {"TiB", 1LL << 40}}};

template <size_t N>
Result<int64_t> ParseWithSuffix(std::string_view text, const std::array<Suffix, N>& suffixes, const char* expected) {
  const Error error = MakeError(ErrorCode::kSpec, fmt::format("\"{}\" is not {}", text, expected));
  int64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end == text.data() || number < 0 || text.front() == '-') return error;
  const std::string_view rest(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const Suffix& suffix : suffixes) {
    if (rest != suffix.text) continue;
    if (number > std::numeric_limits<int64_t>::max() / suffix.factor) return error;
    return number * suffix.factor;
  }
  return error;
}

// Reads exactly `digits` digits at `position`, advancing it, as a number in [least, most].
bool ReadNumber(std::string_view text, size_t& position, size_t digits, int least, int most, int& value) {
  if (position + digits > text.size()) return false;
  value = 0;
  for (size_t i = 0; i < digits; ++i) {
    const char c = text[position + i];
    if (c < '0' || c > '9') return false;
    value = value * 10 + (c - '0');
  }
  position += digits;
  return least <= value && value <= most;
}

bool ReadChar(std::string_view text, size_t& position, char c) {
  if (position >= text.size() || text[position] != c) return false;
  ++position;
  return true;
}

struct Fields {
  int year, month, day, hour = 0, minute = 0, second = 0, milli = 0;
};

bool ReadFields(std::string_view text, Fields& f) {
  size_t at = 0;
  if (!ReadNumber(text, at, 4, 0, 9999, f.year) || !ReadChar(text, at, '-') || !ReadNumber(text, at, 2, 1, 12, f.month) ||
      !ReadChar(text, at, '-') || !ReadNumber(text, at, 2, 1, 31, f.day)) {
    return false;
  }
  if (at == text.size()) return true;
  if (!ReadChar(text, at, 'T') || !ReadNumber(text, at, 2, 0, 23, f.hour) || !ReadChar(text, at, ':') ||
      !ReadNumber(text, at, 2, 0, 59, f.minute)) {
    return false;
  }
  if (ReadChar(text, at, ':') && !ReadNumber(text, at, 2, 0, 59, f.second)) return false;
  if (ReadChar(text, at, '.') && !ReadNumber(text, at, 3, 0, 999, f.milli)) return false;
  return ReadChar(text, at, 'Z') && at == text.size();
}

}  // namespace

std::string FormatUtc(Instant instant) {
  int64_t seconds = instant.millis() / 1000;
  int64_t millis = instant.millis() % 1000;
  if (millis < 0) millis += 1000, --seconds;
  const time_t t = static_cast<time_t>(seconds);
  tm parts{};
  gmtime_r(&t, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec, millis);
}

Result<Instant> ParseUtc(std::string_view text) {
  Fields f{};
  const Error error =
      MakeError(ErrorCode::kSpec, fmt::format("\"{}\" is not a UTC time", text), "write 2026-11-21 or 2026-11-21T16:40:21Z");
  if (!ReadFields(text, f)) return error;
  tm parts{};
  parts.tm_year = f.year - 1900;
  parts.tm_mon = f.month - 1;
  parts.tm_mday = f.day;
  parts.tm_hour = f.hour;
  parts.tm_min = f.minute;
  parts.tm_sec = f.second;
  const int64_t seconds = timegm(&parts);
  if (parts.tm_mday != f.day) return error;  // timegm turns 31 February into March
  return Instant(seconds * 1000 + f.milli);
}

Result<Millis> ParseDuration(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const int64_t millis,
                         ParseWithSuffix(text, kDurations, "a duration (an integer and s, m, h or d, e.g. 90s)"));
  return Millis(millis);
}

std::string FormatDuration(Millis duration) {
  const int64_t seconds = duration.count() / 1000;
  if (seconds < 60) return fmt::format("{}.{:01}s", seconds, duration.count() % 1000 / 100);
  if (seconds < 3600) return fmt::format("{}m {:02}s", seconds / 60, seconds % 60);
  return fmt::format("{}h {:02}m {:02}s", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

Result<Bytes> ParseSize(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const int64_t bytes, ParseWithSuffix(text, kSizes, "a size (an integer and MB, GB, ..., e.g. 24GB)"));
  return Bytes(bytes);
}

std::string FormatSize(Bytes size) {
  const char* unit[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(size.count());
  int i = 0;
  while (value >= 1000 && i < 5) value /= 1000, ++i;
  return i == 0 ? fmt::format("{} B", size.count()) : fmt::format("{:.1f} {}", value, unit[i]);
}

}  // namespace lorry
