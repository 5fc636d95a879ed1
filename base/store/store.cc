#include "base/store/store.h"

#include <algorithm>
#include <cerrno>
#include <map>

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/store/page_check.h"

namespace lorry {
namespace {

constexpr int64_t kQuickCheckUpTo = int64_t{512} << 20;
constexpr mode_t kPrivate = 0600;

// The state is its owner's alone. SQLite gives a log that it makes later the mode of the file itself.
Status KeepPrivate(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    if (chmod((path + suffix).c_str(), kPrivate) != 0 && errno != ENOENT) return ErrnoError("cannot make private", path + suffix);
  }
  return OkStatus();
}

// What can be seen before SQLite is asked: it would take an empty file for a new one.
Status CheckFile(const std::string& path) {
  if (!FileExists(path)) {
    return MakeError(ErrorCode::kNotFound, fmt::format("{} is missing, and this home has had one", path), kRestoreHint);
  }
  LORRY_ASSIGN_OR_RETURN(Bytes size, FileSize(path));
  if (size.count() == 0) return DamagedStateFile(path, "is empty");
  if (size.count() < 512) return DamagedStateFile(path, fmt::format("is shortened: {} bytes are left", size.count()));
  return OkStatus();
}

}  // namespace

Transaction::Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}

Transaction::~Transaction() {
  if (db_ != nullptr) (void)db_->RunScript("ROLLBACK");
}

Status Transaction::Commit() {
  Database* db = std::exchange(db_, nullptr);
  Status status = db->RunScript("COMMIT");
  if (!status.ok()) (void)db->RunScript("ROLLBACK");
  return status;
}

Status Transaction::StillOpen(const std::string& why) const {
  if (!db_->InAutocommit()) return OkStatus();
  return MakeError(ErrorCode::kStorage, why.empty() ? "the transaction was taken back" : why);
}

Reader::Reader(Reader&& other) noexcept : store_(other.store_), db_(std::move(other.db_)) {}

Reader::~Reader() {
  if (db_ == nullptr) return;
  (void)db_->RunScript("COMMIT");
  std::lock_guard lock(store_->mutex_);
  store_->idle_readers_.push_back(std::move(db_));
}

Store::~Store() = default;

Result<std::unique_ptr<Database>> Store::Connect(const std::string& path, int flags) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  std::unique_ptr<Database> db(new Database(raw, path));
  if (code != SQLITE_OK) return db->Failure("open");
  sqlite3_busy_timeout(raw, 5000);
  return db;
}

Result<std::unique_ptr<Store>> Store::Open(const std::string& path, const std::vector<Migration>& migrations, StoreMode mode) {
  if (mode == StoreMode::kCreate && FileExists(path)) {
    return MakeError(ErrorCode::kConflict, fmt::format("{} is there already", path));
  }
  if (mode == StoreMode::kMustExist) LORRY_TRY(CheckFile(path));
  std::unique_ptr<Store> store(new Store(path));
  LORRY_ASSIGN_OR_RETURN(store->writer_,
                         Connect(path, SQLITE_OPEN_READWRITE | (mode == StoreMode::kCreate ? SQLITE_OPEN_CREATE : 0)));
  LORRY_TRY(KeepPrivate(path));
  if (mode == StoreMode::kMustExist) LORRY_TRY(store->Check());
  LORRY_TRY(store->writer_->RunScript(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint=4000; "
      "PRAGMA cache_size=-32000; PRAGMA temp_store=MEMORY"));
  LORRY_TRY(store->Migrate(migrations));
  // From here on the main file itself holds the tables: one that is empty later is damaged, not new.
  LORRY_TRY(store->writer_->RunScript("PRAGMA wal_checkpoint(TRUNCATE)"));
  return store;
}

Result<std::unique_ptr<Store>> Store::OpenReadOnly(const std::string& path) {
  LORRY_TRY(CheckFile(path));
  std::unique_ptr<Store> store(new Store(path));
  LORRY_ASSIGN_OR_RETURN(Reader reader, store->Read());
  return store;
}

Status Store::Check() {
  LORRY_ASSIGN_OR_RETURN(Bytes size, FileSize(path_));
  return size.count() > kQuickCheckUpTo ? CheckHeader(*writer_, path_) : CheckPages(*writer_, path_);
}

Status Store::Migrate(const std::vector<Migration>& migrations) {
  LORRY_ASSIGN_OR_RETURN(Transaction transaction, Begin());
  Database& db = transaction.db();
  LORRY_TRY(
      db.RunScript(fmt::format("PRAGMA application_id={}; CREATE TABLE IF NOT EXISTS schema_version("
                               "component TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
                               kStateFileId)));
  std::map<std::string, int> newest;
  std::vector<Migration> ordered = migrations;
  std::stable_sort(ordered.begin(), ordered.end(), [](const Migration& a, const Migration& b) { return a.version < b.version; });
  for (const Migration& migration : ordered) {
    newest[migration.component] = std::max(newest[migration.component], migration.version);
    LORRY_ASSIGN_OR_RETURN(std::optional<int64_t> at,
                           db.AskInteger("SELECT version FROM schema_version WHERE component=?", migration.component));
    if (at.value_or(0) >= migration.version) continue;
    LORRY_TRY(db.RunScript(migration.sql));
    LORRY_TRY(db.Run("INSERT INTO schema_version VALUES(?1, ?2) ON CONFLICT DO UPDATE SET version=?2", migration.component,
                     migration.version));
  }
  for (const auto& [component, version] : newest) {
    LORRY_ASSIGN_OR_RETURN(std::optional<int64_t> at,
                           db.AskInteger("SELECT version FROM schema_version WHERE component=?", component));
    if (at.value_or(0) > version) {
      return MakeError(
          ErrorCode::kData,
          fmt::format("{} was written by a later Lorry ({} tables of version {}, here {})", path_, component, *at, version),
          "install that release, or restore a backup of this one");
    }
  }
  return transaction.Commit();
}

Result<Transaction> Store::Begin() {
  if (writer_ == nullptr) return MakeError(ErrorCode::kInternal, fmt::format("{} was opened for reading only", path_));
  LORRY_TRY(writer_->RunScript("BEGIN IMMEDIATE"));
  return Transaction(writer_.get());
}

Result<Reader> Store::Read() {
  std::unique_ptr<Database> db;
  {
    std::lock_guard lock(mutex_);
    if (!idle_readers_.empty()) {
      db = std::move(idle_readers_.back());
      idle_readers_.pop_back();
    }
  }
  if (db == nullptr) {
    // Read-write so that a log that a crash left behind can be read; query_only keeps it from writing.
    auto connected = Connect(path_, SQLITE_OPEN_READWRITE);
    if (!connected.ok()) connected = Connect(path_, SQLITE_OPEN_READONLY);
    LORRY_ASSIGN_OR_RETURN(db, std::move(connected));
    LORRY_TRY(db->RunScript("PRAGMA query_only=1"));
  }
  LORRY_TRY(db->RunScript("BEGIN"));
  return Reader(this, std::move(db));
}

}  // namespace lorry
