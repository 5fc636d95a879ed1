#include "batch/assembly.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"

namespace lorry {
namespace {

using nlohmann::json;

// Three rows of input; their results in one shard, in any order.
struct Batch {
  Batch() {
    REQUIRE(WriteFileAtomically(input,
                                "{\"id\":\"a\",\"prompt\":\"p\",\"ref\":\"fast "
                                "editor\"}\n\n{\"id\":\"b\",\"prompt\":\"q\",\"ref\":\"x\"}\nnot json\n")
                .ok());
    REQUIRE(MakeDirectories(dir.path() + "/attempts/1").ok());
  }
  void Write(const std::vector<ShardRow>& rows) {
    auto shard = ShardWriter::Create(dir.path() + "/attempts/1/shard-0.rows");
    for (const ShardRow& row : rows) REQUIRE(shard->Append(row).ok());
  }
  Result<AssembledBatch> Assemble() {
    auto cursor = RowCursor::Open(input, "");
    REQUIRE(cursor.ok());
    ShardIndex index;
    REQUIRE(index.AddShardsBelow(dir.path() + "/attempts").ok());
    return AssembleBatch(*cursor, index,
                         {.directory = dir.path() + "/out", .title = "t", .evaluate = true, .reference_field = "ref"});
  }
  TempDirectory dir;
  std::string input = dir.path() + "/input.jsonl";
};

const ShardRow kFirst{.index = 0, .line = R"({"id":"a","output":"fast editor"})"};
const ShardRow kSecond{.index = 1, .line = R"({"id":"b","output":"y"})"};
const ShardRow kThird{.index = 2, .state = RowState::kError, .line = R"({"error":{"code":"invalid_row"},"id":"c"})"};

TEST_CASE("rows come out in the input's order, each once", "[assembly]") {
  Batch batch;
  batch.Write({kThird, kSecond, kFirst, kSecond});
  const auto assembled = batch.Assemble();
  REQUIRE(assembled.ok());
  CHECK((assembled->rows == 3 && assembled->ok == 2 && assembled->errors == 1));
  CHECK(*ReadFile(batch.dir.path() + "/out/output.jsonl") == kFirst.line + "\n" + kSecond.line + "\n");
  CHECK(*ReadFile(batch.dir.path() + "/out/errors.jsonl") == kThird.line + "\n");
  const json report = json::parse(*ReadFile(batch.dir.path() + "/out/report.json"));
  CHECK(report["metrics"]["rougeL"]["f"] == 0.5);
  CHECK(report["errors"]["invalid_row"] == 1);
  CHECK(FileExists(batch.dir.path() + "/out/report.html"));
}

TEST_CASE("a row without a result writes nothing", "[assembly]") {
  Batch batch;
  batch.Write({kFirst, kThird});
  CHECK(batch.Assemble().error().code == ErrorCode::kInternal);
  CHECK(!FileExists(batch.dir.path() + "/out/output.jsonl"));
  CHECK(!FileExists(batch.dir.path() + "/out/errors.jsonl"));
}

TEST_CASE("a row that the scheduler gave up is an error row, whatever a shard holds of it", "[assembly]") {
  Batch batch;
  batch.Write({kFirst, kSecond, kThird});
  ShardIndex index;
  ShardRow given_up{.index = 1, .state = RowState::kError};
  index.Add(given_up, {}, true);
  REQUIRE(index.AddShardsBelow(batch.dir.path() + "/attempts").ok());
  auto cursor = RowCursor::Open(batch.input, "");
  const auto assembled = AssembleBatch(
      *cursor, index, {.directory = batch.dir.path() + "/out", .title = "t", .evaluate = true, .reference_field = "ref"});
  REQUIRE(assembled.ok());
  CHECK((assembled->rows == 3 && assembled->ok == 1 && assembled->errors == 2));
  const std::string errors = *ReadFile(batch.dir.path() + "/out/errors.jsonl");
  const json line = json::parse(errors.substr(0, errors.find('\n')));
  CHECK((line["id"] == "b" && line["output"].is_null() && line["error"]["code"] == "given_up" && line["error"]["line"] == 3));
  CHECK(json::parse(*ReadFile(batch.dir.path() + "/out/report.json"))["errors"]["given_up"] == 1);
}

TEST_CASE("rows can be asked for in any order", "[assembly]") {
  Batch batch;
  auto cursor = RowCursor::Open(batch.input, "");
  REQUIRE(cursor.ok());
  CHECK(*cursor->Count() == 3);
  for (const int64_t index : {1, 0, 2, 2, 1}) CHECK((*cursor->At(index))->index == index);
  CHECK(!cursor->At(3)->has_value());
  CHECK((*cursor->At(0))->id == "a");
  CHECK((*cursor->At(2))->error);
}

}  // namespace
}  // namespace lorry
