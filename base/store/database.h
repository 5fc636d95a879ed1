// SQL over one connection: prepared once, bound by type, read row by row. What registry, ledger, scheduler and web see of SQLite.
//
//   LORRY_TRY(db.Run("INSERT INTO price(id, sku) VALUES(?, ?)", id.value(), sku));
//   LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT sku FROM price WHERE id >= ?", 7));
//   while (true) { LORRY_ASSIGN_OR_RETURN(bool more, rows.Next()); if (!more) break; use(rows.Text(0)); }
//
// Errors: kStorage (disk full, input/output), kData (the file is damaged), kConflict (a constraint), kInternal (wrong SQL). A
// Database and its Rows belong to one thread at a time; Rows must end before their Database.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/hash.h"
#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/units.h"

struct sqlite3;
struct sqlite3_stmt;

namespace lorry {

// Bytes that are stored as a BLOB, not as TEXT. Does not own them.
struct BlobView {
  std::string_view bytes;
};

class Database;

// The rows of one question, in order.
class Rows {
 public:
  Rows(Rows&& other) noexcept;
  Rows& operator=(Rows&&) = delete;
  ~Rows();
  // Moves to the next row; false after the last.
  Result<bool> Next();

  // Columns of the current row, from 0. REQUIRES: Next() was true.
  bool IsNull(int column) const;
  int64_t Integer(int column) const;
  std::string Text(int column) const;  // also the bytes of a BLOB
  Instant Time(int column) const { return Instant(Integer(column)); }
  // A BLOB of 32 bytes; the zero digest where it is anything else.
  Digest AsDigest(int column) const;

 private:
  friend class Database;
  Rows(Database* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  Database* db_;
  sqlite3_stmt* statement_;
};

class Database {
 public:
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  // One statement with its `?` bound in order: integers, text, BlobView, Digest, ids, Instant, optional of these (NULL).
  template <class... T>
  Status Run(std::string_view sql, const T&... values) {
    LORRY_ASSIGN_OR_RETURN(Rows rows, Ask(sql, values...));
    return rows.Next().ok() ? OkStatus() : Failure(sql);
  }
  template <class... T>
  Result<Rows> Ask(std::string_view sql, const T&... values) {
    LORRY_ASSIGN_OR_RETURN(sqlite3_stmt * statement, Prepare(sql));
    int index = 0;
    (Bind(statement, ++index, values), ...);
    return Rows(this, statement);
  }
  // The first column of the first row as an integer; nullopt where there is no row.
  template <class... T>
  Result<std::optional<int64_t>> AskInteger(std::string_view sql, const T&... values) {
    LORRY_ASSIGN_OR_RETURN(Rows rows, Ask(sql, values...));
    LORRY_ASSIGN_OR_RETURN(bool some, rows.Next());
    if (!some || rows.IsNull(0)) return std::optional<int64_t>();
    return std::optional<int64_t>(rows.Integer(0));
  }
  // Several statements without values: schema and pragmas.
  Status RunScript(const std::string& sql);
  int64_t last_insert_id() const;
  // False between BEGIN and its end. A transaction that SQLite itself took back (disk full, input/output) has ended too.
  bool InAutocommit() const;
  // Rows that the last Run changed: 0 tells a compare-and-set that lost.
  int64_t changes() const;

 private:
  friend class Rows;
  friend class Store;
  explicit Database(sqlite3* raw, std::string path) : raw_(raw), path_(std::move(path)) {}

  // A statement of this SQL that nobody is reading, from the cache or new.
  Result<sqlite3_stmt*> Prepare(std::string_view sql);
  void GiveBack(sqlite3_stmt* statement);
  Error Failure(std::string_view doing) const;

  void BindNull(sqlite3_stmt* statement, int index);
  void BindInteger(sqlite3_stmt* statement, int index, int64_t value);
  void BindText(sqlite3_stmt* statement, int index, std::string_view text);
  void BindBlob(sqlite3_stmt* statement, int index, std::string_view bytes);
  template <class T>
  void Bind(sqlite3_stmt* statement, int index, const T& value) {
    if constexpr (std::same_as<T, BlobView>) {
      BindBlob(statement, index, value.bytes);
    } else if constexpr (std::same_as<T, Digest>) {
      BindBlob(statement, index, {reinterpret_cast<const char*>(value.bytes().data()), value.bytes().size()});
    } else if constexpr (std::same_as<T, Instant>) {
      BindInteger(statement, index, value.millis());
    } else if constexpr (std::integral<T>) {
      BindInteger(statement, index, static_cast<int64_t>(value));
    } else if constexpr (std::convertible_to<const T&, std::string_view>) {
      BindText(statement, index, value);
    } else if constexpr (requires { value.str(); }) {
      BindText(statement, index, value.str());
    } else if constexpr (requires { value.has_value(); }) {
      if (value.has_value()) {
        Bind(statement, index, *value);
      } else {
        BindNull(statement, index);
      }
    } else {
      BindInteger(statement, index, static_cast<int64_t>(value.value()));
    }
  }

  sqlite3* raw_;
  std::string path_;
  std::unordered_multimap<std::string, sqlite3_stmt*> idle_;  // prepared and reset
  std::unordered_map<sqlite3_stmt*, std::string> in_use_;
};

}  // namespace lorry
