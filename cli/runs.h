// Questions and wishes about runs that are already with the scheduler.
#pragma once

#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "cli/session.h"

namespace lorry {

Result<int> RunPs(Session& session, bool all, const std::string& project);
Result<int> RunShow(Session& session, const RunId& run);
// Why it waits, or why it ended.
Result<int> RunExplain(Session& session, const RunId& run);
Result<int> RunCancel(Session& session, const RunId& run, bool now);
Result<int> RunPause(Session& session, const RunId& run);
Result<int> RunResume(Session& session, const RunId& run);

}  // namespace lorry
