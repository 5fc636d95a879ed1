// What a device-hour costs, for whom it costs that, and since when we know it.
//
// The book is append-only and has two times: a row is valid over [valid_from, valid_to), and it is known from recorded_at
// on. Of the rows that are valid at an instant and known at another, the one that begins last decides, so that a price without
// an end holds until the next one begins, whatever the order in which they were recorded. Of those that begin together it is
// the one recorded last; so a corrected price is a new row, and a bill made before the correction can be made again. A row is
// never edited, and its id never reused.
//
// Not thread-safe; a value that is cheap to copy (tens of rows).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/units.h"

namespace lorry {

inline constexpr std::string_view kStandardPricing = "standard";

// One dated price: of one device kind in one pricing category, in 10^-9 dollars per device-hour.
struct PriceRow {
  PriceId id{0};                           // given by the book, from 1
  std::string device_kind;                 // "cpu", "H100", ...; as the worker calls its devices
  std::string category{kStandardPricing};  // standard, spot, committed, owned
  UnitPrice unit_price;                    // per device-hour, never negative
  Instant valid_from;                      // inclusive
  std::optional<Instant> valid_to;         // exclusive; none: until further notice
  Instant recorded_at;                     // when the book learned it
  std::string source;                      // where it comes from, for the reader of a bill
};

class PriceBook {
 public:
  // Rows as a store returns them, in the order of their ids. kData where an id or a span is broken.
  static Result<PriceBook> FromRows(std::vector<PriceRow> rows);

  // Adds a row and returns its id. kSpec for an empty kind, a negative price, or valid_to <= valid_from; kConflict for a
  // recorded_at before that of the last row, since that would change what was known.
  Result<PriceId> Append(PriceRow row);

  // Adds those rows of a price file that the book does not already say: a row is skipped where the last recorded row of
  // the same kind, category and valid_from has the same price and end. Returns the rows added, in order.
  // kSpec where two of the given rows have the same kind, category and valid_from.
  Result<std::vector<PriceRow>> AppendNews(const std::vector<PriceRow>& rows, Instant recorded_at);

  // The row that decides at `at`, as known at `known_at`; null where there is none. Valid until the next Append.
  const PriceRow* PriceAt(std::string_view device_kind, std::string_view category, Instant at, Instant known_at) const;

  // The row to quote a job by that asked for `asked` (base/device_kind.h): of the kinds that it names the dearest one's, so that
  // the quote is not below the bill; null where none of them has a price.
  const PriceRow* DearestPriceAt(std::string_view asked, std::string_view category, Instant at, Instant known_at) const;

  // The first instant in (after, until) at which another row decides than at `after`; `until` where there is none.
  Instant NextChange(std::string_view device_kind, std::string_view category, Instant after, Instant until,
                     Instant known_at) const;

  const PriceRow* Find(PriceId id) const;
  const std::vector<PriceRow>& rows() const { return rows_; }

 private:
  std::vector<PriceRow> rows_;  // by id: row i has id i + 1
};

}  // namespace lorry
