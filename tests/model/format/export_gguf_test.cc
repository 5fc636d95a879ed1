#include "model/format/export_gguf.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/files.h"
#include "model/format/import_gguf.h"
#include "model/format/tokenizer.h"

namespace lorry {
namespace {

const std::string kGolden = "tests/golden/tensors/";

TEST_CASE("a written GGUF is read back with every value in its type") {
  const TempDirectory temp;
  const std::vector<GgufPair> pairs = {{"a.flag", true},
                                       {"a.count", uint32_t{4'000'000'000}},
                                       {"a.eps", 1e-5f},
                                       {"a.text", std::string("\u00e9")},
                                       {"a.types", std::vector<int32_t>{-1, 3}},
                                       {"a.scores", std::vector<float>{0.5f, -2.0f}},
                                       {"a.tokens", std::vector<std::string>{"", "b"}}};
  const std::vector<GgufTensorHead> heads = {
      {"odd", GgmlType::kF32, {3}}, {"matrix", GgmlType::kQ8_0, {2, 64}}, {"half", GgmlType::kF16, {2, 5}}};
  const auto write = [&](const std::string& name) {
    return WriteGguf(temp.path() + name, pairs, heads, [&](size_t index, std::span<std::byte> blocks) {
      std::vector<float> values(static_cast<size_t>(heads[index].ElementCount()));
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 2.0f;
      return Quantize(heads[index].type, values, blocks);
    });
  };
  REQUIRE(write("/a").ok());
  REQUIRE(write("/b").ok());
  CHECK(*ReadFile(temp.path() + "/a") == *ReadFile(temp.path() + "/b"));
  const Result<GgufFile> file = GgufFile::Open(temp.path() + "/a");
  if (!file.ok()) FAIL(file.error().Format());
  CHECK(**file->Bool("a.flag"));
  CHECK(**file->Int("a.count") == 4'000'000'000);
  CHECK(**file->Float("a.eps") == static_cast<double>(1e-5f));
  CHECK(**file->Text("a.text") == "\u00e9");
  CHECK(*file->Ints("a.types") == std::vector<int64_t>{-1, 3});
  CHECK(*file->Floats("a.scores") == std::vector<double>{0.5, -2.0});
  CHECK(*file->Texts("a.tokens") == std::vector<std::string>{"", "b"});
  REQUIRE(file->tensors().size() == 3);
  for (size_t i = 0; i < heads.size(); ++i) {
    CHECK(file->tensors()[i].name == heads[i].name);
    CHECK(file->tensors()[i].shape == heads[i].shape);
    std::vector<float> values(static_cast<size_t>(heads[i].ElementCount()));
    Dequantize(heads[i].type, file->tensors()[i].bytes, values);
    CHECK(values.back() == Approx(static_cast<float>(values.size()) - 3.0f).epsilon(0.01));
  }
}

TEST_CASE("what cannot be written leaves no file") {
  const TempDirectory temp;
  const auto error = [&](const std::vector<GgufPair>& pairs, const std::vector<GgufTensorHead>& heads) {
    const Status status = WriteGguf(temp.path() + "/f", pairs, heads, [](size_t, std::span<std::byte>) -> Status {
      return MakeError(ErrorCode::kData, "no weight");
    });
    REQUIRE_FALSE(status.ok());
    CHECK(ListDirectory(temp.path())->empty());
    return status.error().code;
  };
  CHECK(error({{"k", true}, {"k", false}}, {}) == ErrorCode::kInternal);
  CHECK(error({}, {{"t", GgmlType::kF32, {2}}, {"t", GgmlType::kF32, {2}}}) == ErrorCode::kInternal);
  CHECK(error({}, {{"t", GgmlType::kQ8_0, {31}}}) == ErrorCode::kInternal);
  CHECK(error({}, {{std::string(64, 't'), GgmlType::kF32, {2}}}) == ErrorCode::kInternal);
  CHECK(error({}, {{"t", GgmlType::kF32, {2}}}) == ErrorCode::kData);
  CHECK(WriteGguf("/no/such/folder/f", {}, {}, {}).error().code == ErrorCode::kNotFound);
}

TEST_CASE("floats become the blocks that gguf.quants makes of them, bit by bit") {
  const Result<SafetensorsFile> file = SafetensorsFile::Open(kGolden + "quantized.safetensors");
  REQUIRE(file.ok());
  const TensorView* stored = file->Find("values");
  REQUIRE(stored != nullptr);
  std::vector<float> values(static_cast<size_t>(stored->ElementCount()));
  REQUIRE(ToFloat(stored->dtype, stored->bytes, values).ok());
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16, GgmlType::kQ8_0}) {
    CAPTURE(NameOf(type));
    const TensorView* expected = file->Find(NameOf(type));
    REQUIRE(expected != nullptr);
    std::vector<std::byte> blocks(expected->bytes.size());
    REQUIRE(Quantize(type, values, blocks).ok());
    CHECK(std::memcmp(blocks.data(), expected->bytes.data(), blocks.size()) == 0);
  }
}

TEST_CASE("values that a type cannot hold are refused") {
  struct Row {
    GgmlType type;
    float value;
    ErrorCode code;
  };
  const Row rows[] = {{GgmlType::kF16, 70000.0f, ErrorCode::kData},
                      {GgmlType::kF32, std::numeric_limits<float>::infinity(), ErrorCode::kData},
                      {GgmlType::kQ8_0, std::numeric_limits<float>::quiet_NaN(), ErrorCode::kData},
                      {GgmlType::kQ8_0, 1e7f, ErrorCode::kData},
                      {GgmlType::kQ4_0, 1.0f, ErrorCode::kUnsupported}};
  for (const Row& row : rows) {
    CAPTURE(NameOf(row.type), row.value);
    const std::vector<float> values(32, row.value);
    std::vector<std::byte> blocks(128);
    const size_t bytes = BlockOf(row.type).bytes * (32 / BlockOf(row.type).elements);
    CHECK(Quantize(row.type, values, std::span(blocks).first(bytes)).error().code == row.code);
  }
}

// Imported, exported and imported again: everything that a directory says has gone through the GGUF.
TEST_CASE("an export says all that an import needs") {
  const TempDirectory temp;
  REQUIRE(ImportGguf(kGolden + "tiny_llama.gguf", temp.path() + "/first", {}).ok());
  const Result<ModelDirectory> model = ModelDirectory::Open(temp.path() + "/first");
  REQUIRE(model.ok());
  for (const auto& [type, name] : {std::pair(GgmlType::kF32, "f32"), std::pair(GgmlType::kQ8_0, "q8_0")}) {
    const std::string gguf = temp.path() + "/" + name + ".gguf", again = temp.path() + "/" + name;
    const Status written = ExportGguf(*model, gguf, {.type = type, .name = "tiny"}, ReadStoredWeight);
    if (!written.ok()) FAIL(written.error().Format());
    REQUIRE(ImportGguf(gguf, again, {}).ok());
    const std::vector<std::string> files = *ListDirectory(temp.path() + "/first");
    for (const std::string& file : files) {
      CAPTURE(name, file);
      if (type == GgmlType::kF32 || file != "model.safetensors")
        CHECK(*ReadFile(temp.path() + "/first/" + file) == *ReadFile(again + "/" + file));
    }
  }
  const Result<GgufFile> made = GgufFile::Open(temp.path() + "/f32.gguf");
  const Result<GgufFile> theirs = GgufFile::Open(kGolden + "tiny_llama.gguf");
  for (const GgufTensor& tensor : theirs->tensors()) {
    CAPTURE(tensor.name);
    const GgufTensor* ours = made->Find(tensor.name);
    REQUIRE(ours != nullptr);
    std::vector<float> a(static_cast<size_t>(tensor.ElementCount())), b(a.size());
    Dequantize(tensor.type, tensor.bytes, a);
    Dequantize(ours->type, ours->bytes, b);
    CHECK(a == b);
  }
}

// A directory with one of the golden tokenizers, and no weights.
std::string TokenizerFolder(const TempDirectory& temp, const std::string& name) {
  const std::string folder = temp.path() + "/" + name;
  REQUIRE(MakeDirectories(folder).ok());
  REQUIRE(WriteFileAtomically(folder + "/config.json",
                              R"({"model_type": "llama", "vocab_size": 640, "hidden_size": 4, "intermediate_size": 6,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16})")
              .ok());
  REQUIRE(WriteFileAtomically(folder + "/tokenizer.json", *ReadFile("tests/golden/text/" + name + ".tokenizer.json")).ok());
  REQUIRE(WriteFileAtomically(folder + "/tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})").ok());
  return folder;
}

TEST_CASE("a tokenizer that went through a GGUF gives the ids that it gave") {
  // tokenizer | tokenizer.ggml.pre
  const std::pair<const char*, const char*> rows[] = {
      {"smollm", "smollm"}, {"llama3", "llama-bpe"}, {"qwen2", "qwen2"}, {"llama2", "default"}};
  for (const auto& [name, pre] : rows) {
    CAPTURE(name);
    const TempDirectory temp;
    const Result<ModelDirectory> model = ModelDirectory::OpenWithoutWeights(TokenizerFolder(temp, name));
    REQUIRE(model.ok());
    const auto pairs = GgufTokenizerPairs(*model);
    if (!pairs.ok()) FAIL(pairs.error().Format());
    REQUIRE(WriteGguf(temp.path() + "/t.gguf", *pairs, {}, {}).ok());
    const Result<GgufFile> file = GgufFile::Open(temp.path() + "/t.gguf");
    REQUIRE(file.ok());
    CHECK(**file->Text("tokenizer.ggml.pre") == pre);
    CHECK(file->Texts("tokenizer.ggml.tokens")->size() == 640);
    const Result<Tokenizer> tokenizer = Tokenizer::FromGguf(*file);
    if (!tokenizer.ok()) FAIL(tokenizer.error().Format());
    const auto cases = nlohmann::json::parse(*ReadFile(std::string("tests/golden/text/") + name + ".cases.json"));
    int compared = 0;
    for (const bool special : {false, true}) {
      for (const auto& [text, ids] :
           cases[special ? "special" : "encode"].get<std::vector<std::pair<std::string, std::vector<TokenId>>>>()) {
        // Added tokens that take blanks along, stand alone or are normalized: a GGUF has no words for these.
        bool told = true;
        for (const char* added : {"strip", "word", "Caf", "<mask>"}) told = told && text.find(added) == std::string::npos;
        if (!told) continue;
        CAPTURE(text);
        CHECK(*tokenizer->Encode(text, special) == ids);
        ++compared;
      }
    }
    CHECK(compared > 70);
  }
}

TEST_CASE("SentencePiece's scores count down in the order of merging") {
  const TempDirectory temp;
  const Result<ModelDirectory> model = ModelDirectory::OpenWithoutWeights(TokenizerFolder(temp, "llama2"));
  REQUIRE(WriteGguf(temp.path() + "/t.gguf", *GgufTokenizerPairs(*model), {}, {}).ok());
  const Result<GgufFile> file = GgufFile::Open(temp.path() + "/t.gguf");
  CHECK(**file->Text("tokenizer.ggml.model") == "llama");
  CHECK(**file->Bool("tokenizer.ggml.add_space_prefix"));
  CHECK(**file->Bool("tokenizer.ggml.add_bos_token"));
  const std::vector<int64_t>& types = *file->Ints("tokenizer.ggml.token_type");
  CHECK(std::vector<int64_t>(types.begin(), types.begin() + 4) == std::vector<int64_t>{3, 3, 3, 6});  // <unk> <s> </s> <0x00>
  CHECK(types.back() == 5);
  const std::vector<double>& scores = *file->Floats("tokenizer.ggml.scores");
  const std::vector<std::string>& tokens = *file->Texts("tokenizer.ggml.tokens");
  const auto score = [&](const std::string& token) {
    return scores[static_cast<size_t>(std::find(tokens.begin(), tokens.end(), token) - tokens.begin())];
  };
  CHECK(score("e\u2581") == 0.0);  // the first merge of the fixture
  CHECK(score("\u2581\u2581") == -1.0);
  CHECK(score("e") < score("\u2581\u2581"));
}

TEST_CASE("a tokenizer without a GGUF's words for it is refused by the part") {
  struct Row {
    const char* base;
    std::function<void(nlohmann::json&)> change;
    const char* key;
    ErrorCode code;
  };
  using nlohmann::json;
  const Row rows[] = {
      {"smollm", [](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false; }, "pre_tokenizer",
       ErrorCode::kUnsupported},
      {"llama3", [](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\s+"; }, "pre_tokenizer",
       ErrorCode::kUnsupported},
      {"llama3", [](json& t) { t["model"]["ignore_merges"] = false; }, "pre_tokenizer", ErrorCode::kUnsupported},
      {"qwen2",
       [](json& t) {
         t["normalizer"] = {{"type", "Lowercase"}};
       },
       "", ErrorCode::kUnsupported},
      {"llama2",
       [](json& t) {
         t["normalizer"]["normalizers"].push_back({{"type", "NFC"}});
       },
       "normalizer", ErrorCode::kUnsupported},
      {"llama2", [](json& t) { t["normalizer"] = nullptr; }, "normalizer", ErrorCode::kUnsupported},
      {"smollm",
       [](json& t) {
         t["added_tokens"][0]["id"] = 100000;
         t["added_tokens"][0]["content"] = "<far>";
       },
       "added_tokens", ErrorCode::kData},
      {"qwen2",
       [](json& t) {
         t["post_processor"]["single"].insert(t["post_processor"]["single"].begin(), t["post_processor"]["single"][0]);
       },
       "post_processor", ErrorCode::kUnsupported},
  };
  for (const Row& row : rows) {
    CAPTURE(row.base, row.key);
    const TempDirectory temp;
    const std::string folder = TokenizerFolder(temp, row.base);
    json tokenizer = json::parse(*ReadFile(folder + "/tokenizer.json"));
    row.change(tokenizer);
    REQUIRE(WriteFileAtomically(folder + "/tokenizer.json", tokenizer.dump()).ok());
    const auto pairs = GgufTokenizerPairs(*ModelDirectory::OpenWithoutWeights(folder));
    REQUIRE_FALSE(pairs.ok());
    CHECK(pairs.error().code == row.code);
    if (*row.key != '\0') CHECK(pairs.error().key == row.key);
  }
}

TEST_CASE("arithmetic that llama.cpp does not have is refused by the field") {
  ModelConfig llama = *ParseModelConfigText(R"({"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6,
    "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16})",
                                            "c");
  struct Row {
    std::function<void(ModelConfig&)> change;
    const char* key;  // null: written
  };
  const Row rows[] = {
      {[](ModelConfig&) {}, nullptr},
      {[](ModelConfig& c) { c.rope.type = RopeType::kLlama3; }, nullptr},
      {[](ModelConfig& c) { c.rope.type = RopeType::kYarn, c.rope.factor = 4; }, nullptr},
      {[](ModelConfig& c) { c.rope.type = RopeType::kYarn, c.rope.beta_fast = 16; }, "rope_scaling"},
      {[](ModelConfig& c) { c.rope.type = RopeType::kDynamic; }, "rope_scaling"},
      {[](ModelConfig& c) { c.model_type = "qwen2", c.qkv_bias = true, c.rope.type = RopeType::kLlama3; }, "rope_scaling"},
      {[](ModelConfig& c) { c.model_type = "qwen2", c.qkv_bias = true; }, nullptr},
      {[](ModelConfig& c) { c.model_type = "qwen2"; }, "attention_bias"},
      {[](ModelConfig& c) {
         c.model_type = "qwen2", c.qkv_bias = true, c.window = {0, 8};
       },
       "sliding_window"},
      {[](ModelConfig& c) {
         c.model_type = "mistral", c.window = {8, 8};
       },
       nullptr},
      {[](ModelConfig& c) {
         c.model_type = "mistral", c.window = {8, 0};
       },
       "sliding_window"},
      {[](ModelConfig& c) { c.hidden_act = "gelu"; }, "hidden_act"},
      {[](ModelConfig& c) { c.model_type = "phi"; }, "model_type"},
  };
  for (const Row& row : rows) {
    ModelConfig config = llama;
    row.change(config);
    CAPTURE(config.model_type, row.key == nullptr ? "written" : row.key);
    const auto pairs = GgufConfigPairs(config, "c");
    REQUIRE(pairs.ok() == (row.key == nullptr));
    if (row.key != nullptr) CHECK(pairs.error().key == row.key);
  }
}

}  // namespace
}  // namespace lorry
