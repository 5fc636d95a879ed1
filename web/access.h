// Who may ask what: access tokens and their roles.
//
// While no token exists, loopback needs none and any that is sent is ignored. From the first one on, one that is sent must be
// valid (401), and names that are private answer strangers as if they did not exist. Beyond loopback the server starts only with
// TLS and at least one token, and every request needs one. Whoever makes a token makes its text and sends its SHA-256 alone, so
// that the text is shown once and stands nowhere. The tables lie in the scheduler's state file; functions work on the Database
// they are given.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/store/store.h"
#include "scheduler/queries.h"
#include "web/http_server.h"

namespace lorry {

enum class Role { kAdmin, kFinance, kServing, kViewer };
const char* RoleName(Role role);
Result<Role> ParseRole(std::string_view name);

std::vector<Migration> AccessMigrations();
// token.create, token.list, token.revoke (docs/formats/queries.md).
void AddTokenQueries(QueryTable* table);
Result<bool> AnyTokenExists(Database& db);  // that is not revoked

// What a request may do.
struct Access {
  bool known = false;  // a valid token was sent, or none is needed
  Role role = Role::kAdmin;
  std::string token_id;  // empty: none was needed

  bool MayReadRuns() const { return known && role != Role::kServing; }
  bool MayReadCosts() const { return known && role != Role::kServing; }
  bool MayReadJobContent() const { return known && role != Role::kServing && role != Role::kFinance; }
  bool MayReadPrivateNames() const { return known && role != Role::kFinance; }
};

// The access of a request; the error (kNotAllowed) is for a 401. `open_to_loopback`: the server is bound to loopback only.
Result<Access> AccessOf(Database& db, const HttpRequest& request, bool open_to_loopback);

}  // namespace lorry
