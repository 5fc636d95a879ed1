// prices.yaml: what an hour of each device kind costs, from when on. Exact decimals, never doubles.
//
//   prices:
//     - {device: cpu, usd_per_hour: 0.05, from: 2026-01-01, source: electricity and depreciation}
//     - {device: H100, usd_per_hour: 2.49, from: 2026-01-01, until: 2026-07-01, category: committed, source: contract 17}
//
// `device` is a GPU kind as `lorry worker list` prints it, or "cpu" for one CPU slot. `from` is inclusive and `until`
// exclusive, both UTC. Entries of one device and category may not overlap. The ledger keeps the book; this is only the file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/money.h"
#include "base/result.h"
#include "base/units.h"

namespace lorry {

struct ListedPrice {
  std::string device_kind;
  std::string category = "standard";  // standard | spot | committed | owned
  UnitPrice usd_per_hour;
  Instant from;
  std::optional<Instant> until;
  std::string source;
  int line = 0;  // in the file
};

// All problems are joined line by line in the error's message; kSpec.
Result<std::vector<ListedPrice>> ParsePriceList(std::string_view text, const std::string& file);
Result<std::vector<ListedPrice>> LoadPriceList(const std::string& path);

// The text of the list that a new home begins with: configs/prices.yaml as it was when this program was built.
std::string_view DefaultPriceList();

}  // namespace lorry
