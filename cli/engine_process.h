// lorry-batch as a child process: what `lorry` itself, which has no LibTorch, asks of models.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry {

// Runs lorry-batch with these words and reads the one JSON document that it prints. Its progress goes to our standard error; an
// error that it prints as a document is the result. kUnsupported where this installation has no lorry-batch, kInternal where it
// ends by a signal. Otherwise, where it ends with another status than 0 and says why on standard error only, `exit_status` is
// that status and the document null.
Result<nlohmann::json> AskEngine(const std::vector<std::string>& words, int& exit_status);

}  // namespace lorry
