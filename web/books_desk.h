// The ledger as the scheduler and its clients see it: attempts posted in the transaction in which they end, limits watched, and
// the queries cost.report, price.list, price.history, price.record (docs/formats/queries.md).
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "scheduler/ports.h"
#include "scheduler/queries.h"
#include "scheduler/scheduler.h"

namespace lorry {

std::unique_ptr<BooksPort> MakeBooksPort();
void AddBooksQueries(QueryTable* table);

// Takes the rows of HOME/prices.yaml that the price book does not say yet; how many they were. A new home gets the default list;
// one whose file was taken away keeps the prices that it has. Errors: kSpec with the file's lines.
Result<int> TakePrices(Scheduler& scheduler);

}  // namespace lorry
