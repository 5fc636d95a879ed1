// prices.yaml's rows as rows of the price book: the file is configs/'s, the book ledger/'s, and neither knows the other.
#pragma once

#include <vector>

#include "configs/price_list.h"
#include "ledger/price_book.h"

namespace lorry {

std::vector<PriceRow> PriceRowsOf(const std::vector<ListedPrice>& prices);

}  // namespace lorry
