#include "base/store/store.h"

#include <unistd.h>
#include <catch2/catch.hpp>

#include "base/files.h"
#include "base/store/page_check.h"

namespace lorry {
namespace {

const std::vector<Migration> kTables = {{"test", 1, "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, bytes BLOB)"}};

struct Home {
  TempDirectory folder;
  std::string path = folder.path() + "/state.db";
  std::unique_ptr<Store> Make() {
    auto made = Store::Open(path, kTables, StoreMode::kCreate);
    REQUIRE(made.ok());
    auto transaction = (*made)->Begin();
    for (int i = 0; i < 2000; ++i) {
      REQUIRE(transaction->db().Run("INSERT INTO item VALUES(?,?,?)", i, "name " + std::to_string(i), BlobView{"\0\1"}).ok());
    }
    REQUIRE(transaction->Commit().ok());
    return std::move(*made);
  }
  Result<std::unique_ptr<Store>> Open() { return Store::Open(path, kTables, StoreMode::kMustExist); }
};

TEST_CASE("what was committed is there again; what was not is not") {
  Home home;
  {
    auto store = home.Make();
    auto lost = store->Begin();
    REQUIRE(lost->db().Run("DELETE FROM item").ok());
  }
  auto store = home.Open();
  REQUIRE(store.ok());
  auto reader = (*store)->Read();
  CHECK(reader->db().AskInteger("SELECT count(*) FROM item")->value() == 2000);
  auto rows = reader->db().Ask("SELECT id, name, bytes FROM item WHERE id=?", 7);
  REQUIRE(*rows->Next());
  CHECK(rows->Text(1) == "name 7");
  CHECK_FALSE(reader->db().Run("DELETE FROM item").ok());
}

TEST_CASE("a reader sees one moment") {
  Home home;
  auto store = home.Make();
  auto reader = store->Read();
  CHECK(reader->db().AskInteger("SELECT count(*) FROM item")->value() == 2000);
  auto transaction = store->Begin();
  REQUIRE(transaction->db().Run("DELETE FROM item WHERE id<1000").ok());
  REQUIRE(transaction->Commit().ok());
  CHECK(reader->db().AskInteger("SELECT count(*) FROM item")->value() == 2000);
  CHECK(store->Read()->db().AskInteger("SELECT count(*) FROM item")->value() == 1000);
}

TEST_CASE("a part that fails vanishes, the rest of its transaction stays") {
  Home home;
  auto store = home.Make();
  auto transaction = store->Begin();
  REQUIRE(transaction->db().Run("DELETE FROM item WHERE id=1").ok());
  Status part = transaction->Try([&]() -> Status {
    LORRY_TRY(transaction->db().Run("DELETE FROM item"));
    return MakeError(ErrorCode::kConflict, "no");
  });
  CHECK_FALSE(part.ok());
  REQUIRE(transaction->Commit().ok());
  CHECK(store->Read()->db().AskInteger("SELECT count(*) FROM item")->value() == 1999);
}

TEST_CASE("a transaction that SQLite took back stores nothing more") {
  Home home;
  auto store = home.Make();
  {
    auto transaction = store->Begin();
    Status part = transaction->Try([&] { return transaction->db().Run("INSERT OR ROLLBACK INTO item VALUES(1,'x',NULL)"); });
    REQUIRE_FALSE(part.ok());
    CHECK(part.error().code == ErrorCode::kStorage);
    Status next = transaction->Try([&] { return transaction->db().Run("DELETE FROM item"); });
    REQUIRE_FALSE(next.ok());
    CHECK(next.error().code == ErrorCode::kStorage);
    CHECK_FALSE(transaction->Commit().ok());
  }
  CHECK(store->Read()->db().AskInteger("SELECT count(*) FROM item")->value() == 2000);
}

TEST_CASE("a constraint is a conflict, not a crash") {
  Home home;
  auto store = home.Make();
  auto transaction = store->Begin();
  Status twice = transaction->db().Run("INSERT INTO item VALUES(1,'x',NULL)");
  REQUIRE_FALSE(twice.ok());
  CHECK(twice.error().code == ErrorCode::kConflict);
}

TEST_CASE("migrations run once each, and a file of a later Lorry is refused") {
  Home home;
  home.Make();
  auto later = kTables;
  later.push_back({"test", 2, "ALTER TABLE item ADD COLUMN extra TEXT"});
  REQUIRE(Store::Open(home.path, later, StoreMode::kMustExist).ok());
  REQUIRE(Store::Open(home.path, later, StoreMode::kMustExist).ok());
  auto older = home.Open();
  REQUIRE_FALSE(older.ok());
  CHECK(older.error().message.find("was written by a later Lorry") != std::string::npos);
}

TEST_CASE("a damaged state file is refused by name and left as it is") {
  struct Row {
    const char* what;
    std::function<void(std::string*)> damage;
    const char* says;
  };
  const std::vector<Row> rows = {
      {"empty", [](std::string* b) { b->clear(); }, "is empty"},
      {"a few bytes", [](std::string* b) { b->resize(100); }, "is shortened"},
      {"half", [](std::string* b) { b->resize(b->size() / 2); }, "damaged"},
      {"one page less", [](std::string* b) { b->resize(b->size() - 4096); }, "damaged"},
      {"not a whole page", [](std::string* b) { b->resize(b->size() - 1000); }, "damaged"},
      {"zeros inside", [](std::string* b) { std::fill(b->begin() + 8192, b->begin() + 12288, '\0'); }, "damaged"},
      {"zeros at the start", [](std::string* b) { std::fill(b->begin(), b->begin() + 4096, '\0'); }, ""},
      {"another file", [](std::string* b) { *b = std::string(5000, 'x'); }, ""},
  };
  for (const Row& row : rows) {
    Home home;
    home.Make();
    std::string bytes = *ReadFile(home.path);
    row.damage(&bytes);
    REQUIRE(WriteFileAtomically(home.path, bytes).ok());
    INFO(row.what);
    auto opened = home.Open();
    REQUIRE_FALSE(opened.ok());
    CAPTURE(opened.error().Format());
    CHECK(opened.error().Format().find(home.path) != std::string::npos);
    CHECK(opened.error().Format().find("lorry restore") != std::string::npos);
    CHECK(opened.error().message.find(row.says) != std::string::npos);
    CHECK(*ReadFile(home.path) == bytes);
    auto looked_at = Store::OpenReadOnly(home.path);
    auto reader = looked_at.ok() ? (*looked_at)->Read() : Result<Reader>(looked_at.error());
    CHECK_FALSE((reader.ok() && CheckPages(reader->db(), home.path).ok()));
  }
  Home gone;
  gone.Make();
  unlink(gone.path.c_str());
  auto opened = gone.Open();
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().message.find("is missing") != std::string::npos);
  CHECK_FALSE(FileExists(gone.path));
}

TEST_CASE("a log that lacks its end loses at most the transactions in it that it lacks") {
  Home home;
  auto store = home.Make();
  for (int i = 0; i < 20; ++i) {
    auto transaction = store->Begin();
    REQUIRE(transaction->db().Run("INSERT INTO item VALUES(?, 'later', NULL)", 10000 + i).ok());
    REQUIRE(transaction->Commit().ok());
  }
  const std::string main = *ReadFile(home.path);
  const std::string log = *ReadFile(home.path + "-wal");
  for (size_t cut = 0; cut <= log.size(); cut += 1237) {
    TempDirectory copy;
    REQUIRE(WriteFileAtomically(copy.path() + "/state.db", main).ok());
    REQUIRE(WriteFileAtomically(copy.path() + "/state.db-wal", log.substr(0, cut)).ok());
    auto opened = Store::Open(copy.path() + "/state.db", kTables, StoreMode::kMustExist);
    REQUIRE(opened.ok());
    // Always a whole number of them, and none without those before it.
    auto reader = (*opened)->Read();
    const int64_t count = reader->db().AskInteger("SELECT count(*) FROM item WHERE id>=10000")->value();
    CHECK(reader->db().AskInteger("SELECT max(id) FROM item WHERE id>=10000")->value_or(9999) == 9999 + count);
  }
}

}  // namespace
}  // namespace lorry
