#include "cli/price_rows.h"

namespace lorry {

std::vector<PriceRow> PriceRowsOf(const std::vector<ListedPrice>& prices) {
  std::vector<PriceRow> rows;
  for (const ListedPrice& price : prices) {
    PriceRow row;
    row.device_kind = price.device_kind;
    row.category = price.category;
    row.unit_price = price.usd_per_hour;
    row.valid_from = price.from;
    row.valid_to = price.until;
    row.source = price.source;
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace lorry
