#include "model/format/gguf.h"

#include <catch2/catch.hpp>

#include <cstring>

#include "base/files.h"
#include "model/format/safetensors.h"

namespace lorry {
namespace {

const std::string kGolden = "tests/golden/tensors/";

TEST_CASE("every block type gives the floats of the gguf package, bit by bit") {
  const Result<GgufFile> file = GgufFile::Open(kGolden + "types.gguf");
  const Result<SafetensorsFile> expected = SafetensorsFile::Open(kGolden + "types.safetensors");
  REQUIRE(file.ok());
  REQUIRE(expected.ok());
  CHECK(file->tensors().size() == 11);
  for (const GgufTensor& tensor : file->tensors()) {
    CAPTURE(tensor.name);
    CHECK(tensor.name == "t." + std::string(NameOf(tensor.type)));
    CHECK(tensor.shape == std::vector<int64_t>{3, 512});
    std::vector<float> values(static_cast<size_t>(tensor.ElementCount()));
    Dequantize(tensor.type, tensor.bytes, values);
    const TensorView* authority = expected->Find(tensor.name);
    REQUIRE(authority != nullptr);
    REQUIRE(authority->bytes.size() == values.size() * sizeof(float));
    CHECK(std::memcmp(values.data(), authority->bytes.data(), authority->bytes.size()) == 0);
  }
}

TEST_CASE("metadata keeps its types") {
  const Result<GgufFile> file = GgufFile::Open(kGolden + "types.gguf");
  REQUIRE(file.ok());
  CHECK(**file->Text("general.architecture") == "types");
  CHECK(**file->Int("some.u8") == 7);
  CHECK(**file->Int("some.i64") == -(int64_t{1} << 40));
  CHECK(**file->Float("some.u64") == 0x1p63 + 0x1p32);
  CHECK(**file->Float("some.f64") == 0.1);
  CHECK(**file->Float("some.u8") == 7.0);
  CHECK(**file->Bool("some.flag") == true);
  CHECK(*file->Floats("some.floats") == std::vector<double>{0.5, -2.0});
  CHECK(*file->Texts("some.texts") == std::vector<std::string>{"a", "\u00e9"});
  CHECK_FALSE(file->Int("absent")->has_value());
  CHECK(file->Int("some.flag").error().key == "some.flag");
  CHECK(file->Texts("some.floats") == nullptr);
}

// Builds a GGUF file piece by piece, right or wrong.
class GgufBytes {
 public:
  template <class T>
  GgufBytes& Add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  GgufBytes& Text(const std::string& text) {
    Add<uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  GgufBytes& Head(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    bytes_ += "GGUF";
    return Add(version).Add(tensors).Add(pairs);
  }
  GgufBytes& F32(const std::string& name, uint64_t count, uint64_t offset) {
    return Text(name).Add<uint32_t>(1).Add(count).Add<uint32_t>(0).Add(offset);
  }
  GgufBytes& Data(size_t bytes) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32);
    bytes_.append(bytes, 'x');
    return *this;
  }
  Error Fault() const {
    const Result<GgufFile> file = GgufFile::Parse(std::as_bytes(std::span(bytes_)), "f");
    REQUIRE_FALSE(file.ok());
    CHECK(file.error().file == "f");
    return file.error();
  }
  bool Parses() const { return GgufFile::Parse(std::as_bytes(std::span(bytes_)), "f").ok(); }

 private:
  std::string bytes_;
};

TEST_CASE("what GGUF does not allow is refused with its reason") {
  constexpr uint32_t kText = 8, kArray = 9, kU32 = 4;
  CHECK(GgufBytes().Head(1, 0).F32("t", 8, 0).Data(32).Parses());
  struct Row {
    GgufBytes bytes;
    std::string message;
  };
  const uint64_t huge = ~uint64_t{0};
  const Row rows[] = {
      {GgufBytes(), "too few"},
      {GgufBytes().Add<uint64_t>(0).Add<uint64_t>(0).Add<uint64_t>(0), "not a GGUF file"},
      {GgufBytes().Head(0, 0, 1), "version 1"},
      {GgufBytes().Head(0, 0, 3 << 24), "version"},
      {GgufBytes().Head(huge, 0), "tensors do not fit"},
      {GgufBytes().Head(0, huge), "keys do not fit"},
      {GgufBytes().Head(0, 1).Add(huge).Data(64), "claims"},
      {GgufBytes().Head(0, 1).Text("k").Add(kText).Add(huge).Data(64), "claims"},
      {GgufBytes().Head(0, 1).Text("k").Add(kArray).Add(kU32).Add(huge).Data(64), "claims"},
      {GgufBytes().Head(0, 1).Text("k").Add(kArray).Add(kArray).Add<uint64_t>(1).Data(64), "array"},
      {GgufBytes().Head(0, 1).Text("k").Add<uint32_t>(99).Data(64), "value type 99"},
      {GgufBytes().Head(0, 2).Text("k").Add(kU32).Add(1).Text("k").Add(kU32).Add(1), "twice"},
      {GgufBytes().Head(0, 1).Text("general.alignment").Add(kU32).Add(0).Data(64), "alignment"},
      {GgufBytes().Head(1, 0).Text("t").Add<uint32_t>(5).Data(64), "5 dimensions"},
      {GgufBytes().Head(1, 0).F32("t", 0, 0).Data(32), "impossible shape"},
      {GgufBytes().Head(1, 0).F32("t", huge, 0).Data(32), "impossible shape"},
      {GgufBytes().Head(1, 0).F32("t", 9, 0).Data(32), "beyond the end"},
      {GgufBytes().Head(1, 0).F32("t", 8, huge - 31).Data(32), "beyond the end"},
      {GgufBytes().Head(1, 0).F32("t", 4, 16).Data(32), "not aligned"},
      {GgufBytes().Head(2, 0).F32("t", 16, 0).F32("u", 8, 32).Data(64), "overlap"},
      {GgufBytes().Head(2, 0).F32("t", 8, 0).F32("t", 8, 32).Data(64), "twice"},
      {GgufBytes().Head(1, 0).Text("t").Add<uint32_t>(1).Add<uint64_t>(33).Add<uint32_t>(8).Add<uint64_t>(0).Data(64),
       "block of 32"},
      {GgufBytes().Head(1, 0).Text("t").Add<uint32_t>(1).Add<uint64_t>(32).Add<uint32_t>(17).Add<uint64_t>(0).Data(64),
       "block type 17"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.message);
    CHECK_THAT(row.bytes.Fault().message, Catch::Contains(row.message));
  }
}

TEST_CASE("a GGUF file cut anywhere is refused") {
  const std::string whole = *ReadFile(kGolden + "tiny_llama.gguf");
  for (size_t length = 0; length < whole.size(); length += 997) {
    const std::string cut = whole.substr(0, length);
    if (GgufFile::Parse(std::as_bytes(std::span(cut)), "f").ok()) FAIL("cut at " << length);
  }
}

}  // namespace
}  // namespace lorry
