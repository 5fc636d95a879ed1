#include "web/access.h"

#include <array>

#include "base/hash.h"
#include "base/json.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<Role, const char*>, 4> kRoles = {
    {{Role::kAdmin, "admin"}, {Role::kFinance, "finance"}, {Role::kServing, "serving"}, {Role::kViewer, "viewer"}}};

constexpr size_t kIdDigits = 12;  // of the token's SHA-256: tells nothing of the token, and no two tokens share them

constexpr const char* kSchema = R"sql(
CREATE TABLE web_token(
  id TEXT PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, role TEXT NOT NULL, note TEXT NOT NULL, created_ms INTEGER NOT NULL, revoked_ms INTEGER) STRICT;
)sql";

// nullopt where the token is none, or revoked.
template <class Key>
Result<std::optional<Access>> FindToken(Database& db, const char* column, const Key& key) {
  LORRY_ASSIGN_OR_RETURN(Rows rows,
                         db.Ask(fmt::format("SELECT id, role FROM web_token WHERE {} = ? AND revoked_ms IS NULL", column), key));
  LORRY_ASSIGN_OR_RETURN(const bool found, rows.Next());
  if (!found) return std::optional<Access>();
  LORRY_ASSIGN_OR_RETURN(const Role role, ParseRole(rows.Text(1)));
  return std::optional(Access{true, role, rows.Text(0)});
}

Result<std::string> CreateToken(Database& db, const std::string& text, Instant now) {
  LORRY_ASSIGN_OR_RETURN(const json wish, ParseJson(text));
  LORRY_ASSIGN_OR_RETURN(const Role role, ParseRole(wish.value("role", "")));
  const Result<Digest> digest = Digest::FromHex(wish.value("sha256", ""));
  if (!digest.ok()) return MakeError(ErrorCode::kUsage, "token.create: sha256: " + digest.error().message);
  LORRY_ASSIGN_OR_RETURN(const auto taken, db.AskInteger("SELECT 1 FROM web_token WHERE sha256 = ?", *digest));
  if (taken) return MakeError(ErrorCode::kConflict, "this token exists already, or was revoked", "make another text");
  const std::string id = "t-" + digest->hex().substr(0, kIdDigits);
  LORRY_TRY(db.Run("INSERT INTO web_token(id, sha256, role, note, created_ms) VALUES(?, ?, ?, ?, ?)", id, *digest,
                   std::string(RoleName(role)), wish.value("note", ""), now));
  return json{{"id", id}, {"role", RoleName(role)}}.dump();
}

Result<std::string> ListTokens(Database& db, const std::string&) {
  json tokens = json::array();
  LORRY_ASSIGN_OR_RETURN(
      Rows rows, db.Ask("SELECT id, role, note, created_ms FROM web_token WHERE revoked_ms IS NULL ORDER BY created_ms, id"));
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) break;
    tokens.push_back(
        {{"id", rows.Text(0)}, {"role", rows.Text(1)}, {"note", rows.Text(2)}, {"created", FormatUtc(rows.Time(3))}});
  }
  LORRY_ASSIGN_OR_RETURN(const bool guarded, AnyTokenWasMade(db));
  return json{{"tokens", std::move(tokens)}, {"open", !guarded}}.dump();
}

Result<std::string> RevokeToken(Database& db, const std::string& text, Instant now) {
  LORRY_ASSIGN_OR_RETURN(const json wish, ParseJson(text));
  const std::string id = wish.value("id", "");
  LORRY_TRY(db.Run("UPDATE web_token SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL", now, id));
  if (db.changes() == 0) return MakeError(ErrorCode::kNotFound, fmt::format("no token {}", id), "lorry token list prints them");
  return json{{"id", id}, {"revoked", true}}.dump();
}

}  // namespace

const char* RoleName(Role role) {
  for (const auto& [candidate, name] : kRoles) {
    if (candidate == role) return name;
  }
  return "viewer";
}

Result<Role> ParseRole(std::string_view name) {
  for (const auto& [role, candidate] : kRoles) {
    if (name == candidate) return role;
  }
  if (name == "engineer") {
    return MakeError(ErrorCode::kUnsupported, "role engineer: not in this version, since tokens have no projects yet",
                     "a viewer reads the jobs of all projects");
  }
  return MakeError(ErrorCode::kUsage, fmt::format("\"{}\" is not a role", name), "roles are admin, finance, serving, viewer");
}

std::vector<Migration> AccessMigrations() { return {{"web", 1, kSchema}}; }

void AddTokenQueries(QueryTable* table) {
  table->write["token.create"] = CreateToken;
  table->read["token.list"] = ListTokens;
  table->write["token.revoke"] = RevokeToken;
}

Result<bool> AnyTokenExists(Database& db) {
  LORRY_ASSIGN_OR_RETURN(const auto count, db.AskInteger("SELECT COUNT(*) FROM web_token WHERE revoked_ms IS NULL"));
  return count.value_or(0) > 0;
}

Result<bool> AnyTokenWasMade(Database& db) {
  LORRY_ASSIGN_OR_RETURN(const auto count, db.AskInteger("SELECT COUNT(*) FROM web_token"));
  return count.value_or(0) > 0;
}

Result<Access> AccessOf(Database& db, const HttpRequest& request, const std::string& session_token, bool open_to_loopback) {
  const bool on_loopback = open_to_loopback && request.from_loopback;
  LORRY_ASSIGN_OR_RETURN(const bool guarded, AnyTokenWasMade(db));
  if (!guarded && on_loopback) return Access{true, Role::kAdmin, ""};
  const std::string header = request.Header("authorization");
  if (header.starts_with("Bearer ")) return AccessOfToken(db, std::string_view(header).substr(7));
  if (!session_token.empty()) {
    LORRY_ASSIGN_OR_RETURN(const std::optional<Access> access, FindToken(db, "id", session_token));
    if (access) return *access;
  }
  if (on_loopback) return Access{};
  return MakeError(ErrorCode::kNotAllowed, "a token is needed",
                   "send it as \"Authorization: Bearer TOKEN\"; lorry token create makes one");
}

Result<Access> AccessOfToken(Database& db, std::string_view token) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<Access> access, FindToken(db, "sha256", Sha256Of(token)));
  if (!access) return MakeError(ErrorCode::kNotAllowed, "the token is not valid", "lorry token list prints those that are");
  return *access;
}

}  // namespace lorry
