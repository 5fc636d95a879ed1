// Exact money. A dollar amount is a whole number of 10^-18 dollars, a price a whole number of 10^-9 dollars per unit, a quantity
// a whole number of 10^-9 units: price x quantity is exact, and nothing on a money path is ever a double.
//
// All arithmetic is in 128 bits and checked: an overflow ends the program with a message, since a wrong amount is worse than
// none (the range is +-1.7 x 10^20 dollars); only CheckedSum gives an error instead, for amounts that a file may hold. Rounding
// happens in two places only: QuantityOfDeviceMillis rounds a lease's running total to 10^-9 device-hours, half away from zero,
// and ToCents rounds a line of a report. Values.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

__extension__ typedef __int128 Int128;

Int128 CheckedAdd(Int128 a, Int128 b);
Int128 CheckedMultiply(Int128 a, Int128 b);
std::string ToString(Int128 value);
// A decimal integer, nothing else. Errors: kData.
Result<Int128> ParseInt128(std::string_view text);

class Dollars {
 public:
  constexpr Dollars() = default;
  static constexpr Dollars FromE18(Int128 e18) {
    Dollars d;
    d.e18_ = e18;
    return d;
  }
  constexpr Int128 e18() const { return e18_; }
  Dollars& operator+=(Dollars other) {
    e18_ = CheckedAdd(e18_, other.e18_);
    return *this;
  }
  Dollars& operator-=(Dollars other) {
    e18_ = CheckedAdd(e18_, -other.e18_);
    return *this;
  }
  friend Dollars operator+(Dollars a, Dollars b) { return a += b; }
  friend Dollars operator-(Dollars a, Dollars b) { return a -= b; }
  friend Dollars operator-(Dollars a) { return FromE18(-a.e18_); }
  friend constexpr auto operator<=>(const Dollars&, const Dollars&) = default;
  friend constexpr bool operator==(const Dollars&, const Dollars&) = default;

 private:
  Int128 e18_ = 0;
};

// a + b where an amount was read from a file: one that makes a sum too large is the file's fault. Errors: kData.
Result<Dollars> CheckedSum(Dollars a, Dollars b);

// Dollars per unit, in 10^-9 dollars.
class UnitPrice {
 public:
  constexpr UnitPrice() = default;
  static constexpr UnitPrice FromE9(int64_t e9) {
    UnitPrice p;
    p.e9_ = e9;
    return p;
  }
  constexpr int64_t e9() const { return e9_; }
  friend constexpr auto operator<=>(const UnitPrice&, const UnitPrice&) = default;
  friend constexpr bool operator==(const UnitPrice&, const UnitPrice&) = default;

 private:
  int64_t e9_ = 0;
};

// An amount of a priced unit (device-hours, tokens), in 10^-9 units.
class Quantity {
 public:
  constexpr Quantity() = default;
  static constexpr Quantity FromE9(Int128 e9) {
    Quantity q;
    q.e9_ = e9;
    return q;
  }
  constexpr Int128 e9() const { return e9_; }
  friend Quantity operator+(Quantity a, Quantity b) { return FromE9(CheckedAdd(a.e9_, b.e9_)); }
  friend Quantity operator-(Quantity a, Quantity b) { return FromE9(CheckedAdd(a.e9_, -b.e9_)); }
  friend constexpr auto operator<=>(const Quantity&, const Quantity&) = default;
  friend constexpr bool operator==(const Quantity&, const Quantity&) = default;

 private:
  Int128 e9_ = 0;
};

inline Dollars operator*(UnitPrice price, Quantity quantity) {
  return Dollars::FromE18(CheckedMultiply(price.e9(), quantity.e9()));
}

// Q(m) = m x 10^9 / 3,600,000 device-hours x 10^-9, rounded half away from zero, for m milliseconds since a lease's start. A
// slice of the lease is Q(end) - Q(start), so that slices add up to the whole.
Quantity QuantityOfDeviceMillis(int64_t millis);

// Decimal dollars with at most 9 (a price) or 18 (an amount) decimals, sign allowed for an amount. Errors: kSpec.
Result<UnitPrice> ParseUnitPrice(std::string_view text);
Result<Dollars> ParseDollars(std::string_view text);

// All 18 decimals: "0.000208333333333333".
std::string ToDecimalString(Dollars amount);
// `decimals` (0..18) decimals, rounded half away from zero: for reports only.
std::string ToRoundedString(Dollars amount, int decimals);
// Whole cents, rounded half away from zero: for the line of a report only.
int64_t ToCents(Dollars amount);
// "1.23" for 123 cents.
std::string CentsToString(int64_t cents);
// A price without trailing zeros: "0.05".
std::string ToString(UnitPrice price);

}  // namespace lorry
