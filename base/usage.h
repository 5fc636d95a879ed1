// Device time as the worker measures it and the books record it: which device, for what, from when to when.
//
// A span is [t0, t1) in UTC milliseconds on the worker's clock (one wall-clock reading at the start of the lease plus
// monotonic time since, so that it never runs backwards). The spans of one attempt and device do not overlap; spans that
// touch belong to one lease: one unbroken stretch of one device in one attempt.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"

namespace lorry {

// What a device was held for. Every leased millisecond has exactly one class, useful or wasted.
enum class UsageClass {
  kStartup,     // pull, load, compile, before the first step or row
  kProductive,  // steps and rows that count
  kRecomputed,  // steps done again after a lost attempt
  kCheckpoint,  // writing what a later attempt would need
  kGangWait,    // held while the rest of the gang is not there yet
  kDrain,       // from the last sign of life to the end of the lease, or from a stop to the last rank's exit
  kIdleLease,   // leased, with no rank on it
  kIdlePool,    // not leased: nobody's run, but somebody's money
};

inline constexpr std::array<UsageClass, 8> kUsageClasses = {
    UsageClass::kStartup,  UsageClass::kProductive, UsageClass::kRecomputed, UsageClass::kCheckpoint,
    UsageClass::kGangWait, UsageClass::kDrain,      UsageClass::kIdleLease,  UsageClass::kIdlePool};

// "startup", "productive", ...: as the wire, the books and every report write it.
std::string_view UsageClassName(UsageClass usage_class);
Result<UsageClass> ParseUsageClass(std::string_view name);

struct UsageSpan {
  DeviceId device;
  std::string device_kind;                    // as the price book calls it: "cpu", "H100", ...
  std::string pricing_category = "standard";  // standard, spot, committed, owned: what the pool that lends the device says
  UsageClass usage_class = UsageClass::kStartup;
  Instant t0;  // inclusive
  Instant t1;  // exclusive; t0 <= t1

  friend bool operator==(const UsageSpan&, const UsageSpan&) = default;
};

}  // namespace lorry
