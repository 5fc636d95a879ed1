#include "ledger/price_book.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/device_kind.h"

namespace lorry {
namespace {

Status CheckRow(const PriceRow& row) {
  if (row.device_kind.empty() || row.category.empty()) {
    return MakeError(ErrorCode::kSpec, "a price needs a device kind and a pricing category");
  }
  if (row.unit_price < UnitPrice{}) {
    return MakeError(ErrorCode::kSpec, fmt::format("the price of {} is negative", row.device_kind));
  }
  if (row.valid_to && *row.valid_to <= row.valid_from) {
    return MakeError(ErrorCode::kSpec, fmt::format("the price of {} ends at {}, before it starts at {}", row.device_kind,
                                                   FormatUtc(*row.valid_to), FormatUtc(row.valid_from)));
  }
  return OkStatus();
}

bool IsValidAt(const PriceRow& row, Instant at) { return row.valid_from <= at && (!row.valid_to || at < *row.valid_to); }

bool StartsLike(const PriceRow& a, const PriceRow& b) {
  return a.device_kind == b.device_kind && a.category == b.category && a.valid_from == b.valid_from;
}

}  // namespace

Result<PriceBook> PriceBook::FromRows(std::vector<PriceRow> rows) {
  PriceBook book;
  for (PriceRow& row : rows) {
    const PriceId expected = row.id;
    LORRY_ASSIGN_OR_RETURN(const PriceId given, book.Append(std::move(row)));
    if (given != expected) {
      return MakeError(ErrorCode::kData, fmt::format("price row {} stands where row {} should", expected.value(), given.value()));
    }
  }
  return book;
}

Result<PriceId> PriceBook::Append(PriceRow row) {
  LORRY_TRY(CheckRow(row));
  if (!rows_.empty() && row.recorded_at < rows_.back().recorded_at) {
    return MakeError(ErrorCode::kConflict,
                     fmt::format("a price of {} recorded at {} comes after one recorded at {}", row.device_kind,
                                 FormatUtc(row.recorded_at), FormatUtc(rows_.back().recorded_at)),
                     "check the clock of this machine");
  }
  row.id = PriceId{rows_.size() + 1};
  rows_.push_back(std::move(row));
  return rows_.back().id;
}

Result<std::vector<PriceRow>> PriceBook::AppendNews(const std::vector<PriceRow>& rows, Instant recorded_at) {
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (!StartsLike(rows[i], rows[j])) continue;
      return MakeError(ErrorCode::kSpec, fmt::format("two prices of {} ({}) start at {}", rows[i].device_kind, rows[i].category,
                                                     FormatUtc(rows[i].valid_from)));
    }
  }
  std::vector<PriceRow> added;
  for (PriceRow row : rows) {
    const auto known = std::find_if(rows_.rbegin(), rows_.rend(), [&row](const PriceRow& r) { return StartsLike(r, row); });
    if (known != rows_.rend() && known->unit_price == row.unit_price && known->valid_to == row.valid_to) continue;
    row.recorded_at = recorded_at;
    LORRY_TRY(Append(std::move(row)));
    added.push_back(rows_.back());
  }
  return added;
}

const PriceRow* PriceBook::PriceAt(std::string_view device_kind, std::string_view category, Instant at, Instant known_at) const {
  const PriceRow* decides = nullptr;
  for (const PriceRow& row : rows_) {
    if (row.recorded_at > known_at || row.device_kind != device_kind || row.category != category || !IsValidAt(row, at)) continue;
    if (decides == nullptr || row.valid_from >= decides->valid_from) decides = &row;
  }
  return decides;
}

const PriceRow* PriceBook::DearestPriceAt(std::string_view asked, std::string_view category, Instant at, Instant known_at) const {
  const PriceRow* dearest = nullptr;
  for (const PriceRow& row : rows_) {
    if (!NamesDeviceKind(asked, row.device_kind) || PriceAt(row.device_kind, category, at, known_at) != &row) continue;
    if (dearest == nullptr || row.unit_price > dearest->unit_price) dearest = &row;
  }
  return dearest;
}

Instant PriceBook::NextChange(std::string_view device_kind, std::string_view category, Instant after, Instant until,
                              Instant known_at) const {
  std::vector<Instant> bounds;
  for (const PriceRow& row : rows_) {
    if (row.device_kind != device_kind || row.category != category) continue;
    bounds.push_back(row.valid_from);
    if (row.valid_to) bounds.push_back(*row.valid_to);
  }
  std::sort(bounds.begin(), bounds.end());
  const PriceRow* now = PriceAt(device_kind, category, after, known_at);
  for (Instant bound : bounds) {
    if (bound <= after) continue;
    if (bound >= until) break;
    if (PriceAt(device_kind, category, bound, known_at) != now) return bound;
  }
  return until;
}

const PriceRow* PriceBook::Find(PriceId id) const {
  const auto index = id.value();
  return index >= 1 && index <= rows_.size() ? &rows_[index - 1] : nullptr;
}

}  // namespace lorry
