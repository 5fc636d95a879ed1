// The one state file: SQLite in WAL mode with synchronous=FULL, one writer, readers beside it.
//
// Each folder brings its tables as migrations of its own component; all of them run before the first use. What is committed is on
// the disk when Commit() returns. A file that is missing where one must be, empty, shortened or damaged is refused by name and
// left as it is: nothing here ever begins it anew. The file and its log have mode 0600. docs/formats/state.md lists the tables.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/store/database.h"

namespace lorry {

// Version `version` (1, 2, ...) of a component's tables: the SQL that makes it from the version before. Never edit one that was
// released; add the next.
struct Migration {
  std::string component;
  int version = 1;
  std::string sql;
};

enum class StoreMode {
  kCreate,     // there must be no file yet
  kMustExist,  // the file must be there and whole
};

class Store;

// Everything written through db() becomes durable together at Commit(), or not at all. The writer's thread only; one at a time.
class Transaction {
 public:
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();  // without Commit(): as if it had not been
  Database& db() { return *db_; }
  Status Commit();
  // kStorage where SQLite took the transaction back by itself: a statement after that would be stored alone.
  Status StillOpen(const std::string& why = "") const;

  // Runs `part` so that its writes vanish where it returns an error, and the rest of the transaction stays. kStorage: SQLite took
  // the whole transaction back; nothing may be written through it any more.
  template <class Part>
  auto Try(Part&& part) -> decltype(part()) {
    LORRY_TRY(StillOpen());
    LORRY_TRY(db_->RunScript("SAVEPOINT part"));
    auto result = part();
    if (!result.ok()) LORRY_TRY(StillOpen(result.error().message));
    LORRY_TRY(db_->RunScript(result.ok() ? "RELEASE part" : "ROLLBACK TO part; RELEASE part"));
    return result;
  }

 private:
  friend class Store;
  explicit Transaction(Database* db) : db_(db) {}
  Database* db_;  // null once committed or moved from
};

// A read-only view of one moment, from the pool. Give it back soon: it holds the log that readers of its moment need.
class Reader {
 public:
  Reader(Reader&& other) noexcept;
  Reader& operator=(Reader&&) = delete;
  ~Reader();
  Database& db() { return *db_; }

 private:
  friend class Store;
  Reader(Store* store, std::unique_ptr<Database> db) : store_(store), db_(std::move(db)) {}
  Store* store_;
  std::unique_ptr<Database> db_;
};

class Store {
 public:
  // Errors: kConflict (kCreate over a file), kData (damaged, empty, shortened, of a later Lorry), kNotFound, kStorage; each names
  // the file, and says what brings it back.
  static Result<std::unique_ptr<Store>> Open(const std::string& path, const std::vector<Migration>& migrations, StoreMode mode);
  // For a program that only reads a home, beside a scheduler or without one. Nothing is migrated; Begin() is refused.
  static Result<std::unique_ptr<Store>> OpenReadOnly(const std::string& path);
  ~Store();

  // REQUIRES: the writer's thread, and no other transaction open.
  Result<Transaction> Begin();
  // Any thread.
  Result<Reader> Read();
  const std::string& path() const { return path_; }

 private:
  friend class Reader;
  explicit Store(std::string path) : path_(std::move(path)) {}
  static Result<std::unique_ptr<Database>> Connect(const std::string& path, int flags);
  Status Check();
  Status Migrate(const std::vector<Migration>& migrations);

  std::string path_;
  std::unique_ptr<Database> writer_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Database>> idle_readers_;
};

}  // namespace lorry
