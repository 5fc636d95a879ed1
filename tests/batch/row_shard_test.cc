#include "batch/row_shard.h"

#include <catch2/catch.hpp>

#include "base/files.h"
#include "batch/row_writer.h"
#include "batch/shard_index.h"

namespace lorry {
namespace {

ShardRow Row(int64_t index, std::string line, RowState state = RowState::kOk) {
  return {.index = index,
          .epoch = 4,
          .state = state,
          .prompt_tokens = 7,
          .completion_tokens = 3,
          .millis = 12,
          .line = std::move(line)};
}

std::vector<ShardRow> Scan(const std::string& path, std::vector<RowPlace>* places = nullptr) {
  std::vector<ShardRow> rows;
  const Status status = ScanShard(path, [&](const ShardRow& row, const RowPlace& place) {
    rows.push_back(row);
    if (places != nullptr) places->push_back(place);
    return OkStatus();
  });
  REQUIRE(status.ok());
  return rows;
}

TEST_CASE("rows come back with their places", "[shard]") {
  TempDirectory dir;
  const std::string path = dir.path() + "/shard-0.rows";
  std::vector<RowPlace> written;
  {
    auto writer = ShardWriter::Create(path);
    REQUIRE(writer.ok());
    for (const ShardRow& row : {Row(3, "{\"id\":\"a\"}"), Row(1, "", RowState::kError), Row(8, std::string(100000, 'x'))}) {
      auto place = writer->Append(row);
      REQUIRE(place.ok());
      written.push_back(*place);
    }
    REQUIRE(writer->Sync().ok());
  }
  std::vector<RowPlace> places;
  const auto rows = Scan(path, &places);
  REQUIRE(rows.size() == 3);
  CHECK(rows[1].state == RowState::kError);
  CHECK((rows[0].epoch == 4 && rows[0].prompt_tokens == 7 && rows[0].completion_tokens == 3 && rows[0].millis == 12));
  for (size_t i = 0; i < 3; ++i) {
    CHECK(places[i].offset == written[i].offset);
    CHECK(places[i].sha256 == written[i].sha256);
    CHECK(*ReadRowLine(written[i]) == rows[i].line);
  }
  RowPlace wrong = written[0];
  wrong.offset += 1;
  CHECK(ReadRowLine(wrong).error().code == ErrorCode::kData);
  wrong.shard += ".of-another-home";
  CHECK(ReadRowLine(wrong).error().code == ErrorCode::kStorage);
  CHECK(ShardWriter::Create(path).error().code == ErrorCode::kConflict);
}

TEST_CASE("a shard cut or flipped anywhere gives its whole rows before that", "[shard]") {
  TempDirectory dir;
  const std::string path = dir.path() + "/shard-0.rows";
  std::vector<int64_t> ends;
  {
    auto writer = ShardWriter::Create(path);
    REQUIRE(writer.ok());
    for (int i = 0; i < 4; ++i) {
      const auto place = writer->Append(Row(i, std::string(static_cast<size_t>(5 * i), 'y')));
      ends.push_back(place->offset + place->length);
    }
  }
  const std::string whole = *ReadFile(path);
  const std::string damaged = dir.path() + "/damaged";
  const auto rows_before = [&](size_t size) {
    size_t rows = 0;
    while (rows < ends.size() && ends[rows] <= static_cast<int64_t>(size)) ++rows;
    return rows;
  };
  for (size_t size = 0; size <= whole.size(); ++size) {
    REQUIRE(WriteFileAtomically(damaged, whole.substr(0, size)).ok());
    CHECK(Scan(damaged).size() == rows_before(size));
  }
  for (size_t at = 8; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    REQUIRE(WriteFileAtomically(damaged, flipped).ok());
    CHECK(Scan(damaged).size() == rows_before(at));
  }
  REQUIRE(WriteFileAtomically(damaged, whole + std::string(16, '\0')).ok());
  CHECK(Scan(damaged).size() == 4);
  std::string other = whole;
  other[0] = 'X';
  REQUIRE(WriteFileAtomically(damaged, other).ok());
  CHECK(ScanShard(damaged, [](const ShardRow&, const RowPlace&) { return OkStatus(); }).error().code == ErrorCode::kData);
}

TEST_CASE("payloads that are not rows are refused", "[shard]") {
  const std::string good = EncodeShardRow(Row(5, "line"));
  CHECK(DecodeShardRow(good)->line == "line");
  CHECK(!DecodeShardRow("").ok());
  CHECK(!DecodeShardRow(good.substr(0, 31)).ok());
  for (const size_t at : {size_t{0}, size_t{1}, size_t{2}, size_t{23}}) {
    std::string bad = good;
    bad[at] = static_cast<char>(0xff);
    CHECK(!DecodeShardRow(bad).ok());
  }
}

TEST_CASE("the writer tells of a row only when it is in the file", "[shard]") {
  TempDirectory dir;
  const std::string path = dir.path() + "/shard-0.rows";
  std::vector<int64_t> told;
  {
    RowWriter writer(
        *ShardWriter::Create(path),
        [&](const ShardRow& row, const RowPlace& place) {
          CHECK(*ReadRowLine(place) == row.line);
          told.push_back(row.index);
        },
        [](const Error& error) { FAIL(error.Format()); });
    for (int i = 0; i < 200; ++i) writer.Put(Row(i, "line " + std::to_string(i)));
    writer.Flush();
    CHECK(told.size() == 200);
    writer.Put(Row(200, "last"));
  }
  CHECK(told.size() == 201);
  CHECK(Scan(path).size() == 201);
}

TEST_CASE("committed rows win over those an attempt left behind", "[shard]") {
  TempDirectory dir;
  for (int attempt = 1; attempt <= 2; ++attempt) {
    const std::string folder = dir.path() + "/attempts/" + std::to_string(attempt);
    REQUIRE(MakeDirectories(folder).ok());
    auto writer = ShardWriter::Create(folder + "/" + ShardFileName(0));
    for (int i = 0; i < 3; ++i) REQUIRE(writer->Append(Row(i + attempt, "attempt " + std::to_string(attempt))).ok());
  }
  ShardIndex index;
  std::vector<RowPlace> places;
  const auto second = Scan(dir.path() + "/attempts/2/shard-0.rows", &places);
  index.Add(second[0], places[0], true);  // row 2
  REQUIRE(index.AddShardsBelow(dir.path() + "/attempts").ok());
  CHECK(index.rows() == 4);
  CHECK(*ReadRowLine(index.Find(2)->place) == "attempt 2");
  CHECK(index.Find(2)->committed);
  CHECK(*ReadRowLine(index.Find(3)->place) == "attempt 1");
  CHECK(!index.Find(3)->committed);
  CHECK(!index.Find(9));
  CHECK(ShardIndex().AddShardsBelow(dir.path() + "/none").ok());
}

}  // namespace
}  // namespace lorry
