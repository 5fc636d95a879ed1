// The program's log on standard error: one line an event, time in UTC, no secrets. Set up once in main; any thread may log.
#pragma once

#include <string>

namespace lorry {

// Level from $LORRY_LOG (trace, debug, info, warn, error; default info); `program` stands in every line.
void SetUpLog(const std::string& program);

}  // namespace lorry
