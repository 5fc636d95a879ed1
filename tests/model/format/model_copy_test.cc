#include "model/format/model_copy.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <sys/stat.h>

#include <cstring>
#include <functional>
#include <limits>

#include "base/files.h"

namespace lorry {
namespace {

const char* kConfig =
    R"({"zeta": 1, "model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 2,
  "num_attention_heads": 2, "max_position_embeddings": 16, "tie_word_embeddings": true, "torch_dtype": "float32"})";

// A model in shards of at most 300 bytes, with what a directory may hold besides.
std::string MakeModel(const TempDirectory& temp) {
  const std::string dir = temp.path() + "/from";
  REQUIRE(MakeDirectories(dir + "/onnx").ok());
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "LICENSE", "README.md", "pytorch_model.bin", "onnx/x"}) {
    REQUIRE(WriteFileAtomically(dir + "/" + name, name == std::string("config.json") ? kConfig : "{}").ok());
  }
  std::vector<TensorHead> heads;
  for (const ExpectedTensor& tensor : ExpectedTensors(*ParseModelConfigText(kConfig, "c")))
    heads.push_back({tensor.name, DType::kF32, tensor.shape});
  heads.push_back({"lm_head.weight", DType::kF32, {8, 4}});  // tied: the embedding is meant
  REQUIRE(WriteModelWeights(dir, heads, 300, [](const TensorHead& head, std::span<std::byte> bytes) {
            std::vector<float> values(bytes.size() / sizeof(float));
            for (size_t i = 0; i < values.size(); ++i)
              values[i] = static_cast<float>(i) / 7.0f + static_cast<float>(head.name.size());
            return FromFloat(DType::kF32, values, bytes);
          }).ok());
  return dir;
}

ModelDirectory Opened(const std::string& dir) {
  Result<ModelDirectory> model = ModelDirectory::Open(dir);
  if (!model.ok()) FAIL(model.error().Format());
  return std::move(*model);
}

TEST_CASE("a copy has the model's files, shards and numbers, and nothing else that lay there") {
  const TempDirectory temp;
  const ModelDirectory from = Opened(MakeModel(temp));
  REQUIRE(from.shards().size() > 2);
  for (const char* name : {"/a", "/b"}) {
    REQUIRE(MakeDirectories(temp.path() + name).ok());
    const Status written = WriteModelCopy(from, temp.path() + name, std::nullopt, ReadStoredWeight);
    if (!written.ok()) FAIL(written.error().Format());
  }
  const std::vector<std::string> names = *ListDirectory(temp.path() + "/a");
  CHECK(std::vector<std::string>(names.begin(), names.begin() + 3) ==
        std::vector<std::string>{"LICENSE", "config.json", "generation_config.json"});
  CHECK(names.back() == "tokenizer.json");
  for (const std::string& name : names) CHECK(*ReadFile(temp.path() + "/a/" + name) == *ReadFile(temp.path() + "/b/" + name));
  CHECK(*ReadFile(temp.path() + "/a/config.json") == kConfig);
  const ModelDirectory copy = Opened(temp.path() + "/a");
  CHECK(copy.Find("lm_head.weight") == nullptr);
  for (const ExpectedTensor& tensor : ExpectedTensors(from.config())) {
    const TensorView a = *from.Get(tensor.name), b = *copy.Get(tensor.name);
    CHECK(std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0);
  }
  const auto index = nlohmann::json::parse(*ReadFile(temp.path() + "/a/model.safetensors.index.json"));
  const auto before = nlohmann::json::parse(*ReadFile(from.path() / "model.safetensors.index.json"));
  CHECK(index["metadata"]["total_size"] == copy.WeightBytes());
  for (const auto& [tensor, shard] : index["weight_map"].items()) CHECK(before["weight_map"][tensor] == shard);
}

TEST_CASE("another element type is rounded to once and named in config.json, whose keys keep their order") {
  const TempDirectory temp;
  const ModelDirectory from = Opened(MakeModel(temp));
  REQUIRE(MakeDirectories(temp.path() + "/b").ok());
  REQUIRE(WriteModelCopy(from, temp.path() + "/b", DType::kBF16, ReadStoredWeight).ok());
  const ModelDirectory copy = Opened(temp.path() + "/b");
  CHECK(copy.config().dtype == DType::kBF16);
  const std::string config = *ReadFile(temp.path() + "/b/config.json");
  CHECK(config.find("zeta") < config.find("model_type"));
  const TensorView norm = *copy.Get("model.norm.weight");
  uint16_t second = 0;
  std::memcpy(&second, norm.bytes.data() + 2, 2);
  CHECK(second == FloatToBFloat16(1.0f / 7.0f + 17.0f));
}

TEST_CASE("what cannot be copied is refused") {
  const TempDirectory temp;
  const std::string dir = MakeModel(temp);
  const std::string out = temp.path() + "/out";
  REQUIRE(MakeDirectories(out).ok());
  const auto value = [](float written) {
    return [written](const TensorView&, std::span<float> values) {
      values[0] = written;
      return OkStatus();
    };
  };
  const ModelDirectory from = Opened(dir);
  CHECK(WriteModelCopy(from, out, DType::kI8, ReadStoredWeight).error().code == ErrorCode::kUnsupported);
  const Error nan = WriteModelCopy(from, out, std::nullopt, value(std::numeric_limits<float>::quiet_NaN())).error();
  CHECK(nan.code == ErrorCode::kData);
  CHECK(nan.key.starts_with("model."));
  CHECK(WriteModelCopy(from, out, DType::kF16, value(70000.0f)).error().code == ErrorCode::kData);
  CHECK(WriteModelCopy(from, temp.path() + "/nowhere", std::nullopt, ReadStoredWeight).error().code == ErrorCode::kNotFound);
  REQUIRE(mkfifo((dir + "/merges.txt").c_str(), 0600) == 0);
  CHECK(WriteModelCopy(from, out, std::nullopt, ReadStoredWeight).ok());
  CHECK_FALSE(FileExists(out + "/merges.txt"));
  auto config = nlohmann::json::parse(std::string(kConfig));
  config["quantization_config"] = {{"load_in_4bit", true}};
  REQUIRE(WriteFileAtomically(dir + "/config.json", config.dump()).ok());
  const Status quantized = WriteModelCopy(from, out, std::nullopt, ReadStoredWeight);
  CHECK(quantized.error().key == "quantization_config");
}

}  // namespace
}  // namespace lorry
