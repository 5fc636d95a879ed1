#include "model/format/safetensors.h"

#include <fmt/format.h>
#include <catch2/catch.hpp>

#include <cstring>

#include "base/files.h"

namespace lorry {
namespace {

const std::string kGolden = "tests/golden/tensors/";

std::string FileOf(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data_bytes, 'x');
}

Result<SafetensorsFile> ParseText(const std::string& bytes) {
  return SafetensorsFile::Parse(std::as_bytes(std::span(bytes)), "f");
}

TEST_CASE("a file of the safetensors package is read, and written again byte by byte") {
  for (const char* name : {"mixed.safetensors", "types.safetensors", "tiny_llama.safetensors"}) {
    CAPTURE(name);
    const Result<SafetensorsFile> file = SafetensorsFile::Open(kGolden + name);
    REQUIRE(file.ok());
    const TempDirectory temp;
    const std::string copy = temp.path() + "/copy.safetensors";
    std::vector<TensorView> reversed(file->tensors().rbegin(), file->tensors().rend());
    REQUIRE(WriteSafetensors(copy, reversed, file->metadata()).ok());
    CHECK(*ReadFile(copy) == *ReadFile(kGolden + name));
  }
}

TEST_CASE("tensors have names, shapes and values") {
  const Result<SafetensorsFile> file = SafetensorsFile::Open(kGolden + "mixed.safetensors");
  REQUIRE(file.ok());
  CHECK(file->metadata().at("format") == "pt");
  CHECK(file->Find("f.f64")->shape == std::vector<int64_t>{2, 2});
  CHECK(file->Find("empty")->shape == std::vector<int64_t>{0, 4});
  CHECK(file->Find("scalar")->shape.empty());
  CHECK(file->Find("scalar")->ElementCount() == 1);
  CHECK(file->Find("absent") == nullptr);
  float value = 0;
  REQUIRE(ToFloat(DType::kF32, file->Find("scalar")->bytes, std::span(&value, 1)).ok());
  CHECK(value == 1.5f);
}

TEST_CASE("what the format does not allow is refused with its reason") {
  const auto one = [](const std::string& entry) { return fmt::format(R"({{"t":{}}})", entry); };
  struct Row {
    std::string bytes;
    std::string message;
  };
  const std::string huge = FileOf("{}", 0).replace(0, 8, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8));
  const Row rows[] = {
      {"", "too few"},
      {std::string(7, '\0'), "too few"},
      {huge, "no safetensors file"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), 8).substr(0, 20), "the file was cut"},
      {FileOf("[]", 0), "not an object"},
      {FileOf("{", 0), "its header"},
      {FileOf(R"({"t":1})", 0), "needs dtype"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1})"), 8), "nothing else"},
      {FileOf(one(R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})"), 8), "F31"},
      {FileOf(one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), 8), "whole numbers"},
      {FileOf(one(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), 8), "whole numbers"},
      {FileOf(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), 8), "does not fill"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), 8), "[begin, end]"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), 8), "[begin, end]"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), 4), "4 bytes of data"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), 9), "1 bytes after the last tensor"},
      {FileOf(one(R"({"dtype":"F32","shape":[2],"data_offsets":[4,12]})"), 12), "where 0 was expected"},
      {FileOf(one(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), 0), "impossible"},
      {FileOf(one(R"({"dtype":"U8","shape":[18446744073709551615,18446744073709551615,0],"data_offsets":[0,0]})"), 0),
       "impossible"},
      {FileOf(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6),
       "where 4 was expected"},
      {FileOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
       "a"},
      {FileOf(R"({"__metadata__":{"k":1}})", 0), "not a text"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.message);
    const Result<SafetensorsFile> file = ParseText(row.bytes);
    REQUIRE_FALSE(file.ok());
    CHECK(file.error().file == "f");
    CHECK_THAT(file.error().message, Catch::Contains(row.message));
  }
  CHECK(SafetensorsFile::Open("/no/such/file").error().code == ErrorCode::kNotFound);
}

TEST_CASE("a file that could not be filled does not appear") {
  const TempDirectory temp;
  const std::string path = temp.path() + "/w.safetensors";
  const Status written = WriteSafetensorsStreamed(
      path, {{"t", DType::kF32, {2}}}, {},
      [](const TensorHead&, std::span<std::byte>) -> Status { return MakeError(ErrorCode::kData, "no values"); });
  CHECK(written.error().message == "no values");
  CHECK(ListDirectory(temp.path())->empty());
}

}  // namespace
}  // namespace lorry
