#include "base/money.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace lorry {
namespace {

constexpr Int128 PowerOfTen(int exponent) {
  Int128 value = 1;
  for (int i = 0; i < exponent; ++i) value *= 10;
  return value;
}

[[noreturn]] void Overflow(const char* operation) {
  std::fprintf(stderr, "money: %s does not fit into 128 bits; stopping rather than booking a wrong amount\n", operation);
  std::abort();
}

// value / divisor, rounded half away from zero. REQUIRES: divisor > 0.
Int128 DivideHalfAwayFromZero(Int128 value, Int128 divisor) {
  const Int128 quotient = value / divisor;
  const Int128 rest = value % divisor;
  if ((rest < 0 ? -rest : rest) * 2 < divisor) return quotient;
  return quotient + (value < 0 ? -1 : 1);
}

// `value` x 10^-scale with `decimals` decimals. REQUIRES: decimals <= scale.
std::string Decimal(Int128 value, int scale) {
  const bool negative = value < 0;
  std::string digits = ToString(negative ? -value : value);
  if (static_cast<int>(digits.size()) <= scale) digits.insert(0, scale + 1 - digits.size(), '0');
  if (scale > 0) digits.insert(digits.size() - scale, 1, '.');
  return (negative ? "-" : "") + digits;
}

// Reads a decimal number of at most `decimals` decimals as a whole number of 10^-decimals.
Result<Int128> ParseDecimal(std::string_view text, int decimals, bool sign_allowed) {
  const Error error =
      MakeError(ErrorCode::kSpec, fmt::format("\"{}\" is not a dollar amount with at most {} decimals", text, decimals));
  bool negative = false;
  if (sign_allowed && !text.empty() && text.front() == '-') negative = true, text.remove_prefix(1);
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction = point == std::string_view::npos ? "" : text.substr(point + 1);
  if (whole.empty() || whole.size() > 20 || static_cast<int>(fraction.size()) > decimals ||
      (point != std::string_view::npos && fraction.empty())) {
    return error;
  }
  std::string digits(whole);
  digits += fraction;
  digits.append(decimals - fraction.size(), '0');
  Int128 value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return error;
    if (value > (std::numeric_limits<int64_t>::max() * PowerOfTen(18))) return error;
    value = value * 10 + (c - '0');
  }
  return negative ? -value : value;
}

}  // namespace

Int128 CheckedAdd(Int128 a, Int128 b) {
  Int128 sum;
  if (__builtin_add_overflow(a, b, &sum)) Overflow("a sum");
  return sum;
}

Int128 CheckedMultiply(Int128 a, Int128 b) {
  Int128 product;
  if (__builtin_mul_overflow(a, b, &product)) Overflow("a product");
  return product;
}

std::string ToString(Int128 value) {
  if (value == 0) return "0";
  __extension__ unsigned __int128 rest =
      value < 0 ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
  std::string digits;
  for (; rest > 0; rest /= 10) digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
  if (value < 0) digits.push_back('-');
  std::reverse(digits.begin(), digits.end());
  return digits;
}

Result<Int128> ParseInt128(std::string_view text) {
  const Error error = MakeError(ErrorCode::kData, fmt::format("\"{}\" is not a whole number of 128 bits", text));
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.size() > 39) return error;
  Int128 value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value)) {
      return error;
    }
  }
  return negative ? -value : value;
}

Result<Dollars> CheckedSum(Dollars a, Dollars b) {
  Int128 sum;
  if (__builtin_add_overflow(a.e18(), b.e18(), &sum)) {
    return MakeError(ErrorCode::kData,
                     fmt::format("the sum of ${} and ${} does not fit into 128 bits", ToDecimalString(a), ToDecimalString(b)));
  }
  return Dollars::FromE18(sum);
}

Quantity QuantityOfDeviceMillis(int64_t millis) {
  return Quantity::FromE9(DivideHalfAwayFromZero(static_cast<Int128>(millis) * 1'000'000'000, 3'600'000));
}

Result<UnitPrice> ParseUnitPrice(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const Int128 e9, ParseDecimal(text, 9, /*sign_allowed=*/false));
  if (e9 > std::numeric_limits<int64_t>::max()) return MakeError(ErrorCode::kSpec, fmt::format("price {} is too large", text));
  return UnitPrice::FromE9(static_cast<int64_t>(e9));
}

Result<Dollars> ParseDollars(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const Int128 e18, ParseDecimal(text, 18, /*sign_allowed=*/true));
  return Dollars::FromE18(e18);
}

std::string ToDecimalString(Dollars amount) { return Decimal(amount.e18(), 18); }

std::string ToRoundedString(Dollars amount, int decimals) {
  return Decimal(DivideHalfAwayFromZero(amount.e18(), PowerOfTen(18 - decimals)), decimals);
}

int64_t ToCents(Dollars amount) { return static_cast<int64_t>(DivideHalfAwayFromZero(amount.e18(), PowerOfTen(16))); }

std::string CentsToString(int64_t cents) { return Decimal(cents, 2); }

std::string ToString(UnitPrice price) {
  std::string text = Decimal(price.e9(), 9);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace lorry
