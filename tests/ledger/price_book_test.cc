#include "ledger/price_book.h"

#include <catch2/catch.hpp>

namespace lorry {
namespace {

PriceRow Row(const char* kind, const char* usd, int64_t from, std::optional<int64_t> to = std::nullopt, int64_t recorded = 0) {
  PriceRow row;
  row.device_kind = kind;
  row.unit_price = *ParseUnitPrice(usd);
  row.valid_from = Instant(from);
  if (to) row.valid_to = Instant(*to);
  row.recorded_at = Instant(recorded);
  return row;
}

uint64_t At(const PriceBook& book, int64_t at, int64_t known_at = 1000) {
  const PriceRow* row = book.PriceAt("cpu", kStandardPricing, Instant(at), Instant(known_at));
  return row != nullptr ? row->id.value() : 0;
}

TEST_CASE("of the rows that are valid the one that begins last decides") {
  PriceBook book;
  REQUIRE(book.Append(Row("cpu", "0.05", 100, 200, 1)).ok());
  REQUIRE(book.Append(Row("cpu", "0.06", 200, std::nullopt, 2)).ok());
  REQUIRE(book.Append(Row("cpu", "0.04", 150, 180, 3)).ok());
  REQUIRE(book.Append(Row("H100", "2.99", 0, std::nullopt, 4)).ok());

  // at | known at | row
  const std::vector<std::array<int64_t, 3>> cases = {{99, 9, 0},  {100, 9, 1}, {149, 9, 1}, {150, 9, 3}, {179, 9, 3}, {180, 9, 1},
                                                     {199, 9, 1}, {200, 9, 2}, {150, 2, 1}, {250, 1, 0}, {150, 0, 0}};
  for (const auto& [at, known_at, row] : cases) {
    CAPTURE(at, known_at);
    CHECK(At(book, at, known_at) == static_cast<uint64_t>(row));
  }
  CHECK(book.PriceAt("cpu", "spot", Instant(150), Instant(9)) == nullptr);
  CHECK(book.NextChange("cpu", kStandardPricing, Instant(100), Instant(500), Instant(9)) == Instant(150));
  CHECK(book.NextChange("cpu", kStandardPricing, Instant(150), Instant(170), Instant(9)) == Instant(170));
  CHECK(book.NextChange("cpu", kStandardPricing, Instant(160), Instant(500), Instant(9)) == Instant(180));
  CHECK(book.NextChange("cpu", kStandardPricing, Instant(200), Instant(500), Instant(9)) == Instant(500));
}

TEST_CASE("an open price ends where the next one begins, in whatever order they were recorded") {
  struct Case {
    const char* name;
    std::vector<PriceRow> rows;
    std::array<uint64_t, 3> at_50_150_250;  // the row that decides then
    int64_t first_change;                   // after 50
  };
  const std::vector<Case> cases = {
      {"in order", {Row("cpu", "1", 0), Row("cpu", "2", 100)}, {1, 2, 2}, 100},
      {"reversed", {Row("cpu", "2", 100), Row("cpu", "1", 0)}, {2, 1, 1}, 100},
      {"the older one corrected", {Row("cpu", "0.05", 0), Row("cpu", "0.08", 100), Row("cpu", "0.06", 0)}, {3, 2, 2}, 100},
      {"one put between", {Row("cpu", "1", 0), Row("cpu", "2", 200), Row("cpu", "3", 100)}, {1, 3, 2}, 100},
      {"one with an end put between", {Row("cpu", "1", 0), Row("cpu", "2", 200), Row("cpu", "3", 100, 150)}, {1, 1, 2}, 100},
  };
  for (const Case& one : cases) {
    CAPTURE(one.name);
    PriceBook book;
    for (const PriceRow& row : one.rows) REQUIRE(book.Append(row).ok());
    CHECK(std::array<uint64_t, 3>{At(book, 50), At(book, 150), At(book, 250)} == one.at_50_150_250);
    CHECK(book.NextChange("cpu", kStandardPricing, Instant(50), Instant(900), Instant(1000)) == Instant(one.first_change));
  }
}

TEST_CASE("reading a price file again adds nothing, an edited one adds what it says anew") {
  PriceBook book;
  const std::vector<PriceRow> file = {Row("cpu", "0.05", 0, 100), Row("cpu", "0.06", 100)};
  CHECK(book.AppendNews(file, Instant(1))->size() == 2);
  CHECK(book.AppendNews(file, Instant(2))->empty());
  const std::vector<PriceRow> edited = {Row("cpu", "0.05", 0, 100), Row("cpu", "0.07", 100)};
  CHECK(book.AppendNews(edited, Instant(3))->size() == 1);
  CHECK(At(book, 150) == 3);
  CHECK(At(book, 150, 2) == 2);
  CHECK(book.AppendNews(file, Instant(4))->size() == 1);
  CHECK(book.PriceAt("cpu", kStandardPricing, Instant(150), Instant(4))->unit_price == *ParseUnitPrice("0.06"));
}

TEST_CASE("a job is quoted by the dearest price that holds of the kinds it names") {
  PriceBook book;
  REQUIRE(book.Append(Row("H100-PCIe", "1.99", 0, std::nullopt, 1)).ok());
  REQUIRE(book.Append(Row("H100-80GB-HBM3", "9", 0, 50, 1)).ok());
  REQUIRE(book.Append(Row("H100-80GB-HBM3", "2.99", 50, std::nullopt, 1)).ok());
  REQUIRE(book.Append(Row("H1000", "99", 0, std::nullopt, 1)).ok());
  // asked | row
  const std::vector<std::pair<const char*, uint64_t>> cases = {{"H100", 3}, {"H100-PCIe", 1}, {"H100-80GB", 3}, {"H100-80", 0},
                                                               {"H", 0},    {"H1000", 4},     {"h100", 0}};
  for (const auto& [asked, id] : cases) {
    CAPTURE(asked);
    const PriceRow* row = book.DearestPriceAt(asked, kStandardPricing, Instant(60), Instant(9));
    CHECK((row != nullptr ? row->id.value() : 0) == id);
  }
}

TEST_CASE("rows that cannot be are refused") {
  PriceBook book;
  CHECK(book.Append(Row("", "0.05", 0)).error().code == ErrorCode::kSpec);
  CHECK(book.Append(Row("cpu", "0.05", 10, 10)).error().code == ErrorCode::kSpec);
  REQUIRE(book.Append(Row("cpu", "0.05", 0, std::nullopt, 5)).ok());
  CHECK(book.Append(Row("cpu", "0.05", 0, std::nullopt, 4)).error().code == ErrorCode::kConflict);
  CHECK(book.AppendNews({Row("gpu", "1", 0), Row("gpu", "2", 0)}, Instant(9)).error().code == ErrorCode::kSpec);
  std::vector<PriceRow> rows = book.rows();
  rows[0].id = PriceId(7);
  CHECK(PriceBook::FromRows(rows).error().code == ErrorCode::kData);
  rows[0].id = PriceId(1);
  CHECK(PriceBook::FromRows(rows)->rows().size() == 1);
}

}  // namespace
}  // namespace lorry
