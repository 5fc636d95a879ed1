// lorry worker, token and doctor: the installation itself.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

Result<int> RunWorkerList(Session& session);
// `drain`: it takes nothing new, and what runs there runs on; else it takes runs again.
Result<int> RunWorkerDrain(Session& session, const std::string& worker, bool drain);

struct TokenOptions {
  std::string role;
  std::string note;
  std::string id;  // to revoke
};
// The token is shown once, by create.
Result<int> RunTokenCreate(Session& session, const TokenOptions& options);
Result<int> RunTokenList(Session& session);
Result<int> RunTokenRevoke(Session& session, const TokenOptions& options);

struct DoctorOptions {
  bool fix = false;       // mends what can be mended without losing anything
  bool features = false;  // only the list of what this version carries out
};
// What is wrong with this installation and home, and what to do: 0 where nothing is.
Result<int> RunDoctor(Session& session, const DoctorOptions& options);

}  // namespace lorry
