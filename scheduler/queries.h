// The open door of the wire (wire::Query): names, and what answers them. Folders above and below bring their own.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/result.h"
#include "base/store/store.h"
#include "scheduler/state.h"

namespace lorry {

// JSON text in, JSON text out.
using ReadQuery = std::function<Result<std::string>(Database& db, const std::string& json)>;
using StateQuery = std::function<Result<std::string>(const State& state, Database& db, const std::string& json)>;
using WriteQuery = std::function<Result<std::string>(Database& db, const std::string& json, Instant now)>;

// Filled before the scheduler starts, read-only after.
struct QueryTable {
  std::map<std::string, ReadQuery> read;    // on a desk's thread, over a moment of the state file: may take its time
  std::map<std::string, StateQuery> state;  // on the reactor's thread: must be quick
  std::map<std::string, WriteQuery>
      write;  // on the reactor's thread, in its transaction; a repeat of its key is answered from store
};

// What `ask` answers. JSON of another shape than it looks for is the question's fault (kUsage, with the query's name).
Result<std::string> Asked(const std::string& name, const std::function<Result<std::string>()>& ask);

// worker.list, run.outputs: what the scheduler itself is asked.
void AddSchedulerQueries(QueryTable* table);

}  // namespace lorry
