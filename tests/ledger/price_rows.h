// Price books and slices as the JSON of the oracle's fixtures (tests/live/ledger_oracle.py).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ledger/usage_file.h"

namespace lorry::test {

inline Result<PriceBook> PriceBookOf(const nlohmann::json& rows) {
  PriceBook book;
  for (const nlohmann::json& row : rows) {
    LORRY_ASSIGN_OR_RETURN(const UnitPrice price, ParseUnitPrice(row.at("usd_per_hour").get<std::string>()));
    PriceRow made;
    made.device_kind = row.at("device_kind");
    made.category = row.at("pricing_category");
    made.unit_price = price;
    made.valid_from = Instant(row.at("valid_from_ms").get<int64_t>());
    made.recorded_at = Instant(row.at("recorded_at_ms").get<int64_t>());
    if (!row.at("valid_to_ms").is_null()) made.valid_to = Instant(row.at("valid_to_ms").get<int64_t>());
    LORRY_TRY(book.Append(made));
  }
  return book;
}

inline nlohmann::json SlicesJson(const std::vector<ReplayedAttempt>& attempts) {
  nlohmann::json slices = nlohmann::json::array();
  for (const ReplayedAttempt& attempt : attempts) {
    for (const UsageSlice& slice : attempt.slices) {
      nlohmann::json json = UsageSliceJson(slice);
      json["run"] = attempt.account.run.str();
      json["attempt"] = attempt.attempt.value();
      slices.push_back(std::move(json));
    }
  }
  return slices;
}

}  // namespace lorry::test
