// Quantities that do not mix, and the texts people write them in.
//
// Bytes, Tokens and DeviceMillis are whole numbers with a type; Instant is a point of UTC in milliseconds since 1970, Millis a
// stretch of time. Addition and subtraction within one type only. Values.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

template <class Tag>
class Count {
 public:
  constexpr Count() = default;
  constexpr explicit Count(int64_t count) : count_(count) {}
  constexpr int64_t count() const { return count_; }
  constexpr Count& operator+=(Count other) {
    count_ += other.count_;
    return *this;
  }
  constexpr Count& operator-=(Count other) {
    count_ -= other.count_;
    return *this;
  }
  friend constexpr Count operator+(Count a, Count b) { return Count(a.count_ + b.count_); }
  friend constexpr Count operator-(Count a, Count b) { return Count(a.count_ - b.count_); }
  friend constexpr auto operator<=>(const Count&, const Count&) = default;
  friend constexpr bool operator==(const Count&, const Count&) = default;

 private:
  int64_t count_ = 0;
};

using Bytes = Count<struct BytesTag>;
using Tokens = Count<struct TokensTag>;
using DeviceMillis = Count<struct DeviceMillisTag>;  // one device for one millisecond
using Millis = Count<struct MillisTag>;

class Instant {
 public:
  constexpr Instant() = default;
  constexpr explicit Instant(int64_t millis_since_epoch) : millis_(millis_since_epoch) {}
  constexpr int64_t millis() const { return millis_; }
  friend constexpr Instant operator+(Instant t, Millis d) { return Instant(t.millis_ + d.count()); }
  friend constexpr Instant operator-(Instant t, Millis d) { return Instant(t.millis_ - d.count()); }
  friend constexpr Millis operator-(Instant a, Instant b) { return Millis(a.millis_ - b.millis_); }
  friend constexpr auto operator<=>(const Instant&, const Instant&) = default;
  friend constexpr bool operator==(const Instant&, const Instant&) = default;

 private:
  int64_t millis_ = 0;
};

// "2026-11-21T16:40:21.123Z"; ParseUtc also takes a date alone ("2026-11-21", midnight) and a missing fraction.
std::string FormatUtc(Instant instant);
Result<Instant> ParseUtc(std::string_view text);

// An integer and s, m, h or d: "90s", "2h". Errors: kSpec.
Result<Millis> ParseDuration(std::string_view text);
// "1h 02m 03s", for people.
std::string FormatDuration(Millis duration);

// An integer and B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB: "24GB". Errors: kSpec.
Result<Bytes> ParseSize(std::string_view text);
// "1.4 GB", for people.
std::string FormatSize(Bytes size);

}  // namespace lorry
