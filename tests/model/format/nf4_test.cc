// NF4 against what bitsandbytes, transformers and PEFT made and stored (tests/golden/make_nf4.py), byte by byte.
#include "model/format/nf4.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/files.h"
#include "model/format/model_directory.h"
#include "model/format/nf4_checkpoint.h"

namespace lorry {
namespace {

const std::string kGolden = "tests/golden/nf4/";

template <class T>
T Expect(Result<T> result) {
  if (!result.ok()) FAIL(result.error().Format());
  return std::move(result).value();
}

FindTensor In(const SafetensorsFile& file) {
  return [&file](std::string_view name) { return file.Find(name); };
}

std::vector<float> Dequantized(const Nf4Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.ElementCount()));
  DequantizeNf4(tensor, 0, values);
  return values;
}

std::vector<float> Numbers(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.ElementCount()));
  REQUIRE(ToFloat(view.dtype, view.bytes, values).ok());
  return values;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<std::string> Cases(const SafetensorsFile& file) {
  const std::string suffix = ".plain";
  std::vector<std::string> names;
  for (const TensorView& tensor : file.tensors()) {
    if (tensor.name.ends_with(suffix)) names.push_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
  }
  return names;
}

TEST_CASE("quantized matrices are bitsandbytes' bytes", "[nf4]") {
  const SafetensorsFile file = Expect(SafetensorsFile::Open(kGolden + "matrices.safetensors"));
  REQUIRE(Cases(file).size() == 10);
  for (const std::string& name : Cases(file)) {
    CAPTURE(name);
    const TensorView& plain = *file.Find(name + ".plain");
    const bool nested = file.Find(name + ".nested_absmax") != nullptr;
    const Nf4Tensor tensor = Expect(QuantizeNf4(plain.bytes, plain.dtype, plain.shape, {.double_quantization = nested}));
    const std::vector<Nf4Piece> pieces = StoredPieces(name, tensor);
    CHECK(pieces.size() == (nested ? 6 : 4));
    for (const Nf4Piece& piece : pieces) {
      CAPTURE(piece.head.name);
      const TensorView* theirs = file.Find(piece.head.name);
      REQUIRE(theirs != nullptr);
      CHECK(piece.head.dtype == theirs->dtype);
      CHECK(piece.head.shape == theirs->shape);
      CHECK(std::equal(piece.bytes.begin(), piece.bytes.end(), theirs->bytes.begin(), theirs->bytes.end()));
    }
    CHECK(SameBits(Dequantized(tensor), Numbers(*file.Find(name + ".dequantized"))));
  }
}

TEST_CASE("what bitsandbytes stored is read and dequantized to its bits", "[nf4]") {
  const SafetensorsFile file = Expect(SafetensorsFile::Open(kGolden + "matrices.safetensors"));
  for (const std::string& name : Cases(file)) {
    CAPTURE(name);
    const TensorView& dequantized = *file.Find(name + ".dequantized");
    const Nf4Tensor tensor = Expect(ReadNf4(Expect(FindNf4(In(file), name, dequantized.shape))));
    CHECK(tensor.dtype == dequantized.dtype);
    CHECK(SameBits(Dequantized(tensor), Numbers(dequantized)));
    // From the middle, as a panel reads it.
    const int64_t first = tensor.ElementCount() / 3;
    std::vector<float> some(static_cast<size_t>(tensor.ElementCount() - first));
    DequantizeNf4(tensor, first, some);
    const std::vector<float> all = Numbers(dequantized);
    CHECK(SameBits(some, {all.begin() + first, all.end()}));
  }
}

TEST_CASE("numbers that are not finite are not quantized", "[nf4]") {
  std::vector<float> values(100, 1.0f);
  values[70] = std::numeric_limits<float>::infinity();
  const auto result = QuantizeNf4(std::as_bytes(std::span(values)), DType::kF32, {10, 10}, {});
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == ErrorCode::kData);
  CHECK_THAT(result.error().message, Catch::Contains("element 70"));
}

TEST_CASE("a checkpoint that transformers stored is opened, and written again byte by byte", "[nf4]") {
  for (const std::string name : {"double", "single"}) {
    CAPTURE(name);
    const ModelDirectory model = Expect(ModelDirectory::Open(kGolden + name));
    CHECK(model.config().stored_nf4);
    const SafetensorsFile expected = Expect(SafetensorsFile::Open(kGolden + name + "/expected.safetensors"));
    size_t in_nf4 = 0;
    for (const ExpectedTensor& module : LinearModules(model.config())) {
      const std::string weight = module.name + ".weight";
      CAPTURE(weight);
      const TensorView* theirs = expected.Find(weight + ".dequantized");
      CHECK(model.IsNf4(weight) == (theirs != nullptr));
      if (theirs == nullptr) continue;
      ++in_nf4;
      CHECK(model.Get(weight).error().code == ErrorCode::kUnsupported);
      CHECK(SameBits(Dequantized(Expect(model.GetNf4(weight))), Numbers(*theirs)));
    }
    CHECK(in_nf4 == (name == "double" ? 14 : 13));
    CHECK_FALSE(model.IsNf4("lm_head.weight"));
    if (name != "double") continue;
    const TempDirectory copy;
    REQUIRE(WriteNf4Checkpoint(model, copy.path(), {}).ok());
    CHECK(*ReadFile(copy.path() + "/model.safetensors") == *ReadFile(kGolden + name + "/model.safetensors"));
    CHECK(*ReadFile(copy.path() + "/config.json") == *ReadFile(kGolden + name + "/config.json"));
  }
}

TEST_CASE("a plain model is written as a 4-bit checkpoint, whole or in shards", "[nf4]") {
  const ModelDirectory plain = Expect(ModelDirectory::Open("tests/golden/decoder/gqa_tied"));
  const bool doubly = GENERATE(true, false);
  const uint64_t shard = GENERATE(uint64_t{1} << 30, uint64_t{4000});
  const TempDirectory temp;
  REQUIRE(WriteNf4Checkpoint(plain, temp.path(), {.double_quantization = doubly, .max_shard_bytes = shard}).ok());
  const ModelDirectory stored = Expect(ModelDirectory::Open(temp.path()));
  CHECK((stored.shards().size() > 1) == (shard == 4000));
  for (const ExpectedTensor& tensor : ExpectedTensors(plain.config())) {
    CAPTURE(tensor.name);
    const TensorView before = Expect(plain.Get(tensor.name));
    if (!stored.IsNf4(tensor.name)) {
      const TensorView after = Expect(stored.Get(tensor.name));
      CHECK(std::equal(before.bytes.begin(), before.bytes.end(), after.bytes.begin(), after.bytes.end()));
      continue;
    }
    const Nf4Tensor after = Expect(stored.GetNf4(tensor.name));
    CHECK(after.nested.has_value() == doubly);
    const Nf4Tensor expected = Expect(QuantizeNf4(before.bytes, before.dtype, before.shape, {.double_quantization = doubly}));
    CHECK(after.packed == expected.packed);
    CHECK(SameBits(Dequantized(after), Dequantized(expected)));
  }
}

// The pieces of one stored weight, to be spoilt.
class Stored {
 public:
  Stored() : file_(Expect(SafetensorsFile::Open(kGolden + "matrices.safetensors"))) {
    for (const TensorView& tensor : file_.tensors()) tensors_[tensor.name] = tensor;
  }
  TensorView& operator[](const std::string& piece) { return tensors_.at("odd" + piece); }
  void Drop(const std::string& piece) { tensors_.erase("odd" + piece); }
  void Rename(const std::string& from, const std::string& to) {
    tensors_["odd" + to] = tensors_.at("odd" + from);
    Drop(from);
  }
  void SetState(std::string text) {
    text_ = std::move(text);
    TensorView& state = (*this)[".quant_state.bitsandbytes__nf4"];
    state.bytes = std::as_bytes(std::span(text_));
    state.shape = {static_cast<int64_t>(text_.size())};
  }
  std::string State() {
    const TensorView& state = (*this)[".quant_state.bitsandbytes__nf4"];
    return {reinterpret_cast<const char*>(state.bytes.data()), state.bytes.size()};
  }
  void ChangeState(const std::string& from, const std::string& to) {
    std::string text = State();
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    SetState(text.replace(at, from.size(), to));
  }
  Status Read() const {
    const auto find = [this](std::string_view name) {
      const auto found = tensors_.find(name);
      return found == tensors_.end() ? nullptr : &found->second;
    };
    LORRY_ASSIGN_OR_RETURN(const StoredNf4 stored, FindNf4(find, "odd", {7, 67}));
    LORRY_ASSIGN_OR_RETURN(const Nf4Tensor tensor, ReadNf4(stored));
    return OkStatus();
  }

 private:
  SafetensorsFile file_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::string text_;
};

TEST_CASE("a stored weight that is cut, of another kind or hostile is refused by its piece", "[nf4]") {
  REQUIRE(Stored().Read().ok());
  static const std::vector<float> infinite(256, std::numeric_limits<float>::infinity());
  struct Row {
    std::string name;
    std::function<void(Stored&)> spoil;
    std::string message;
    ErrorCode code;
  };
  const auto state = [](const char* from, const char* to) { return [=](Stored& stored) { stored.ChangeState(from, to); }; };
  const auto cut = [](TensorView& view) {
    view.bytes = view.bytes.first(view.bytes.size() / 2);
    view.shape = {static_cast<int64_t>(view.bytes.size() / SizeOf(view.dtype))};
  };
  const std::string nf4 = ".quant_state.bitsandbytes__nf4";
  const Row rows[] = {
      {"no scales", [](Stored& s) { s.Drop(".absmax"); }, "\"odd.absmax\" is missing", ErrorCode::kData},
      {"no nested scales", [](Stored& s) { s.Drop(".nested_absmax"); }, "\"odd.nested_absmax\" is missing", ErrorCode::kData},
      {"no codebook", [](Stored& s) { s.Drop(".quant_map"); }, "\"odd.quant_map\" is missing", ErrorCode::kData},
      {"no codes", [](Stored& s) { s.Drop(""); }, "\"odd\" is missing", ErrorCode::kData},
      {"cut codes", [&](Stored& s) { cut(s[""]); }, "235 U8 were expected", ErrorCode::kData},
      {"cut scales", [&](Stored& s) { cut(s[".absmax"]); }, "8 U8 were expected", ErrorCode::kData},
      {"cut dynamic map", [&](Stored& s) { cut(s[".nested_quant_map"]); }, "256 F32 were expected", ErrorCode::kData},
      {"codes in bf16", [](Stored& s) { s[""].dtype = DType::kBF16; }, "235 U8 were expected", ErrorCode::kUnsupported},
      {"another codebook", [](Stored& s) { s[".quant_map"].bytes = std::as_bytes(std::span(infinite).first(16)); },
       "is not NF4's codebook", ErrorCode::kUnsupported},
      {"infinite scale", [](Stored& s) { s[".nested_absmax"].bytes = std::as_bytes(std::span(infinite).first(1)); },
       "\"odd.nested_absmax\" holds what is not a number", ErrorCode::kData},
      {"fp4", [&](Stored& s) { s.Rename(nf4, ".quant_state.bitsandbytes__fp4"); }, "stored in fp4", ErrorCode::kUnsupported},
      {"no state", [&](Stored& s) { s.Drop(nf4); }, "bitsandbytes__nf4\" is missing", ErrorCode::kData},
      {"not JSON", [](Stored& s) { s.SetState("{\"quant_type\": \"nf4\""); }, "bitsandbytes__nf4\": ", ErrorCode::kData},
      {"a list", [](Stored& s) { s.SetState("[1]"); }, "is not a JSON object", ErrorCode::kData},
      {"long state", [](Stored& s) { s.SetState(std::string(5000, ' ')); }, "is not a short JSON text", ErrorCode::kData},
      {"type", state("\"quant_type\": \"nf4\"", "\"quant_type\": \"fp4\""), "is not nf4", ErrorCode::kUnsupported},
      {"block", state("\"blocksize\": 64", "\"blocksize\": 128"), "128; 64 is supported", ErrorCode::kUnsupported},
      {"negative block", state("\"blocksize\": 64", "\"blocksize\": -1"), "outside", ErrorCode::kData},
      {"nested block", state("\"nested_blocksize\": 256", "\"nested_blocksize\": 64"), "64; 256", ErrorCode::kUnsupported},
      {"dtype", state("\"dtype\": \"float32\"", "\"dtype\": \"float64\""), "float64", ErrorCode::kUnsupported},
      {"shape", state("[7, 67]", "[67, 7]"), "is not [7, 67]", ErrorCode::kData},
      {"huge shape", state("[7, 67]", "[4611686018427387904, 4]"), "is not [7, 67]", ErrorCode::kData},
      {"unknown key", state(", \"nested_offset\"", ", \"x\""), "is not a key of a quant_state", ErrorCode::kUnsupported},
      {"offset too large",
       [](Stored& s) {
         s.SetState(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [7, 67], "nested_blocksize": 256,
                        "nested_dtype": "float32", "nested_offset": 1e300})");
       },
       "too large for a float32", ErrorCode::kData},
      {"half nested",
       [](Stored& s) {
         s.SetState(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [7, 67], "nested_offset": 1})");
       },
       "does not stand with its like", ErrorCode::kData},
      {"a key twice", state("\"nested_offset\": 0", "\"nested_offset\": 1e300, \"blocksize\": 0"), "blocksize", ErrorCode::kData},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Stored stored;
    row.spoil(stored);
    const Status read = stored.Read();
    REQUIRE_FALSE(read.ok());
    CHECK_THAT(read.error().Format(), Catch::Contains(row.message));
    CHECK(read.error().code == row.code);
  }
}

}  // namespace
}  // namespace lorry
