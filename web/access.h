// Who may ask what: access tokens and their roles.
//
// While no token was ever made, loopback needs none and any that is sent is ignored. From the first one on, one that is sent must
// be valid (401), and a stranger on loopback reads everything but private names, which are to him as if they did not exist;
// revoking the last token opens nothing again. Beyond loopback the server starts only with TLS and at least one token, and every
// request needs one. A program sends its token as "Authorization: Bearer"; a browser, which cannot, signs in once (sign_in.h) and
// then sends a session's cookie. Whoever makes a token makes its text and sends its SHA-256 alone, so that the text is shown once
// and stands nowhere. The tables lie in the scheduler's state file; functions work on the Database they are given.
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
Result<bool> AnyTokenExists(Database& db);   // that is not revoked
Result<bool> AnyTokenWasMade(Database& db);  // revoked or not

// What a request may do.
struct Access {
  bool known = false;  // by a valid token, or none is needed; else a stranger on loopback
  Role role = Role::kAdmin;
  std::string token_id;  // empty: none was needed

  bool MayReadRuns() const { return !known || role != Role::kServing; }
  bool MayReadCosts() const { return !known || role != Role::kServing; }
  bool MayReadJobContent() const { return !known || (role != Role::kServing && role != Role::kFinance); }
  bool MayReadPrivateNames() const { return known && role != Role::kFinance; }
};

// The access of a request; the error (kNotAllowed) is for a 401. `session_token`: the id of the token that the request's session
// was begun with; empty: it has none. `open_to_loopback`: the server is bound to loopback only.
Result<Access> AccessOf(Database& db, const HttpRequest& request, const std::string& session_token, bool open_to_loopback);

// The access that this text gives. Errors: kNotAllowed where it is no valid token.
Result<Access> AccessOfToken(Database& db, std::string_view token);

}  // namespace lorry
