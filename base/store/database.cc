#include "base/store/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace lorry {

Rows::Rows(Rows&& other) noexcept : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)) {}

Rows::~Rows() {
  if (statement_ != nullptr) db_->GiveBack(statement_);
}

Result<bool> Rows::Next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return db_->Failure(sqlite3_sql(statement_));
}

bool Rows::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

int64_t Rows::Integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Rows::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return size == 0 ? std::string() : std::string(static_cast<const char*>(bytes), static_cast<size_t>(size));
}

Digest Rows::AsDigest(int column) const {
  std::array<uint8_t, 32> bytes{};
  const std::string blob = Text(column);
  if (blob.size() != bytes.size()) return Digest();
  std::copy(blob.begin(), blob.end(), bytes.begin());
  return Digest(bytes);
}

Database::~Database() {
  for (auto& [sql, statement] : idle_) sqlite3_finalize(statement);
  sqlite3_close(raw_);
}

Result<sqlite3_stmt*> Database::Prepare(std::string_view sql) {
  std::string key(sql);
  if (auto found = idle_.find(key); found != idle_.end()) {
    sqlite3_stmt* statement = found->second;
    idle_.erase(found);
    in_use_.emplace(statement, std::move(key));
    return statement;
  }
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(raw_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr) !=
      SQLITE_OK) {
    return Failure(sql);
  }
  in_use_.emplace(statement, std::move(key));
  return statement;
}

void Database::GiveBack(sqlite3_stmt* statement) {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  auto used = in_use_.extract(statement);
  idle_.emplace(std::move(used.mapped()), statement);
}

Error Database::Failure(std::string_view doing) const {
  const int code = sqlite3_errcode(raw_) & 0xff;
  const std::string text = sqlite3_errmsg(raw_);
  switch (code) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return MakeError(ErrorCode::kData, fmt::format("{} is damaged: {}", path_, text),
                       "bring back a backup with `lorry restore FROM`");
    case SQLITE_FULL:
      return MakeError(ErrorCode::kStorage, fmt::format("{}: {}", path_, text), "free some space on its disk");
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return MakeError(ErrorCode::kStorage, fmt::format("{}: {}", path_, text));
    case SQLITE_CONSTRAINT:
      return MakeError(ErrorCode::kConflict, fmt::format("{}: {}", path_, text));
    default:
      return MakeError(ErrorCode::kInternal, fmt::format("{}: {} (in: {})", path_, text, doing.substr(0, 200)));
  }
}

Status Database::RunScript(const std::string& sql) {
  if (sqlite3_exec(raw_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return Failure(sql);
  return OkStatus();
}

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(raw_); }

bool Database::InAutocommit() const { return sqlite3_get_autocommit(raw_) != 0; }

int64_t Database::changes() const { return sqlite3_changes64(raw_); }

void Database::BindNull(sqlite3_stmt* statement, int index) { sqlite3_bind_null(statement, index); }

void Database::BindInteger(sqlite3_stmt* statement, int index, int64_t value) { sqlite3_bind_int64(statement, index, value); }

void Database::BindText(sqlite3_stmt* statement, int index, std::string_view text) {
  sqlite3_bind_text64(statement, index, text.data() == nullptr ? "" : text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void Database::BindBlob(sqlite3_stmt* statement, int index, std::string_view bytes) {
  sqlite3_bind_blob64(statement, index, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(), SQLITE_TRANSIENT);
}

}  // namespace lorry
