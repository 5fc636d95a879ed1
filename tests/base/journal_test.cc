#include "base/journal.h"

#include <catch2/catch.hpp>

#include "base/files.h"

using namespace lorry;

namespace {

std::string WriteThree(const std::string& path) {
  auto writer = JournalWriter::Open(path);
  REQUIRE(writer.ok());
  for (const char* record : {"one", "2", "three"}) REQUIRE(writer->Append(record).ok());
  REQUIRE(writer->Sync().ok());
  return *ReadFile(path);
}

}  // namespace

TEST_CASE("a journal cut at any byte keeps the records before the cut") {
  TempDirectory dir;
  const std::string path = dir.path() + "/j";
  const std::string whole = WriteThree(path);
  for (size_t length = 0; length <= whole.size(); ++length) {
    REQUIRE(WriteFileAtomically(path, whole.substr(0, length)).ok());
    const auto contents = ReadJournal(path);
    REQUIRE(contents.ok());
    const size_t expected = length < 8 + 11 ? 0 : length < 8 + 11 + 9 ? 1 : length < whole.size() ? 2 : 3;
    CHECK(contents->records.size() == expected);
    CHECK(contents->torn == (length != static_cast<size_t>(contents->good_bytes)));
    auto writer = JournalWriter::Open(path);  // goes on behind the last whole record
    REQUIRE(writer.ok());
    REQUIRE(writer->Append("next").ok());
    CHECK(ReadJournal(path)->records.size() == expected + 1);
    CHECK(ReadJournal(path)->records.back() == "next");
  }
}

TEST_CASE("zeros at the end are no records") {
  TempDirectory dir;
  const std::string path = dir.path() + "/j";
  const std::string whole = WriteThree(path);
  for (const size_t zeros : {1u, 8u, 16u, 4096u}) {
    REQUIRE(WriteFileAtomically(path, whole + std::string(zeros, '\0')).ok());
    CHECK(ReadJournal(path)->records.size() == 3);
    CHECK(ReadJournal(path)->torn);
  }
}

TEST_CASE("a flipped bit cuts there") {
  TempDirectory dir;
  const std::string path = dir.path() + "/j";
  const std::string whole = WriteThree(path);
  for (size_t at = 8; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] ^= 0x10;
    REQUIRE(WriteFileAtomically(path, flipped).ok());
    CHECK(ReadJournal(path)->records.size() < 3);
  }
}

TEST_CASE("what is not a journal is refused, not emptied") {
  TempDirectory dir;
  const std::string path = dir.path() + "/j";
  REQUIRE(WriteFileAtomically(path, "something else entirely").ok());
  CHECK(ReadJournal(path).error().code == ErrorCode::kData);
  CHECK_FALSE(JournalWriter::Open(path).ok());
  CHECK(*ReadFile(path) == "something else entirely");
}
