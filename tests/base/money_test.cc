#include "base/money.h"

#include <catch2/catch.hpp>

using namespace lorry;

namespace {
Dollars D(const char* text) { return *ParseDollars(text); }
}  // namespace

// Expected values by exact fractions (Python's fractions.Fraction).
TEST_CASE("quantities round half away from zero") {
  struct Row {
    int64_t millis;
    int64_t e9;
  };
  for (const Row& row : {Row{0, 0},
                         {1, 278},
                         {9, 2500},
                         {27, 7500},
                         {3'600'000, 1'000'000'000},
                         {1800, 500'000},
                         {86'400'000, 24'000'000'000},
                         {123'456'789, 34'293'552'500},
                         {-1, -278}}) {
    CHECK(QuantityOfDeviceMillis(row.millis).e9() == Int128(row.e9));
  }
}

TEST_CASE("slices of a lease add up to the lease") {
  const int64_t edges[] = {0, 1, 2, 500, 777, 123'456, 3'600'001};
  Quantity sum;
  for (size_t i = 1; i < std::size(edges); ++i) {
    sum = sum + (QuantityOfDeviceMillis(edges[i]) - QuantityOfDeviceMillis(edges[i - 1]));
  }
  CHECK(sum == QuantityOfDeviceMillis(3'600'001));
}

TEST_CASE("price times quantity is exact") {
  const UnitPrice price = *ParseUnitPrice("0.05");
  CHECK(ToDecimalString(price * QuantityOfDeviceMillis(1)) == "0.000000013900000000");
  CHECK(ToDecimalString(*ParseUnitPrice("1.79") * Quantity::FromE9(48'000'000'000)) == "85.920000000000000000");
  CHECK(ToDecimalString(*ParseUnitPrice("999999999.999999999") * QuantityOfDeviceMillis(1'000'000'000'000)) ==
        "277777777777777.999722222222222222");
}

TEST_CASE("cents round half away from zero") {
  struct Row {
    const char* dollars;
    int64_t cents;
  };
  for (const Row& row :
       {Row{"1872.585", 187259}, {"1872.584999999999999999", 187258}, {"-0.005", -1}, {"0.004", 0}, {"0.005", 1}}) {
    CHECK(ToCents(D(row.dollars)) == row.cents);
  }
  CHECK(CentsToString(-105) == "-1.05");
  CHECK(CentsToString(7) == "0.07");
  CHECK(ToRoundedString(D("0.0000005"), 6) == "0.000001");
  CHECK(ToRoundedString(D("12.3"), 0) == "12");
}

TEST_CASE("amounts read back; anything else is refused") {
  for (const char* text : {"0.000000000000000001", "-12345678901234567.123456789012345678", "5"}) {
    CHECK(*ParseDollars(ToDecimalString(D(text))) == D(text));
  }
  for (const char* text :
       {"", "-", ".5", "5.", "1e3", "0x1", "1,5", "0.0000000000000000001", "--1", " 1", "99999999999999999999999"}) {
    INFO(text);
    CHECK_FALSE(ParseDollars(text).ok());
  }
  for (const char* text : {"-1", "0.0000000001", "99999999999999"}) CHECK_FALSE(ParseUnitPrice(text).ok());
  CHECK(ToString(*ParseUnitPrice("2.500")) == "2.5");
  CHECK(ToString(*ParseUnitPrice("3")) == "3");
  CHECK(*ParseInt128("-170141183460469231731687303715884105727") == -(~(Int128(1) << 127)));
  CHECK_FALSE(ParseInt128("170141183460469231731687303715884105728").ok());
}
