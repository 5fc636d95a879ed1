#include "model/format/model_directory.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cstring>

#include "base/files.h"

namespace lorry {
namespace {

const char* kConfig =
    R"({"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 2,
  "num_attention_heads": 2, "max_position_embeddings": 16, "tie_word_embeddings": true, "eos_token_id": 2})";

// A small model in `dir`; every element of a tensor is its place in the list of tensors.
void WriteModel(const std::string& dir, uint64_t max_shard_bytes) {
  REQUIRE(WriteFileAtomically(dir + "/config.json", kConfig).ok());
  std::vector<TensorHead> heads;
  for (const ExpectedTensor& tensor : ExpectedTensors(*ParseModelConfigText(kConfig, "c"))) {
    heads.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  const Status written = WriteModelWeights(dir, heads, max_shard_bytes, [&](const TensorHead& head, std::span<std::byte> bytes) {
    size_t place = 0;
    while (heads[place].name != head.name) ++place;
    const std::vector<float> values(bytes.size() / sizeof(float), static_cast<float>(place));
    return FromFloat(DType::kF32, values, bytes);
  });
  REQUIRE(written.ok());
}

void CheckModel(const std::string& dir) {
  const Result<ModelDirectory> model = ModelDirectory::Open(dir);
  if (!model.ok()) FAIL(model.error().Format());
  const std::vector<ExpectedTensor> expected = ExpectedTensors(model->config());
  for (size_t i = 0; i < expected.size(); ++i) {
    const TensorView* tensor = model->Find(expected[i].name);
    REQUIRE(tensor != nullptr);
    float first = -1;
    std::memcpy(&first, tensor->bytes.data(), sizeof(first));
    CHECK(first == static_cast<float>(i));
  }
  CHECK(model->generation().eos_ids == std::vector<int32_t>{2});
  CHECK(model->WeightBytes() == static_cast<uint64_t>(model->config().ParameterCount()) * 4);
}

TEST_CASE("a model in one file and the same in shards") {
  const TempDirectory one, many;
  WriteModel(one.path(), 1 << 20);
  CheckModel(one.path());
  CHECK(FileExists(one.path() + "/model.safetensors"));
  WriteModel(many.path(), 300);
  CheckModel(many.path());
  CHECK(FileExists(many.path() + "/model.safetensors.index.json"));
  CHECK_FALSE(FileExists(many.path() + "/model.safetensors"));
}

TEST_CASE("a directory that is not whole is refused by name") {
  const TempDirectory temp;
  CHECK(ModelDirectory::Open(temp.path()).error().code == ErrorCode::kNotFound);
  REQUIRE(WriteFileAtomically(temp.path() + "/config.json", kConfig).ok());
  CHECK(ModelDirectory::OpenWithoutWeights(temp.path()).ok());
  CHECK_THAT(ModelDirectory::Open(temp.path()).error().message, Catch::Contains("model.safetensors"));
  WriteModel(temp.path(), 300);
  const std::string index_path = temp.path() + "/model.safetensors.index.json";
  const nlohmann::json index = nlohmann::json::parse(*ReadFile(index_path));
  const auto fault_with = [&](const nlohmann::json& changed) {
    REQUIRE(WriteFileAtomically(index_path, changed.dump()).ok());
    const Result<ModelDirectory> model = ModelDirectory::Open(temp.path());
    REQUIRE_FALSE(model.ok());
    return model.error().Format();
  };
  nlohmann::json outside = index;
  outside["weight_map"]["model.norm.weight"] = "../other.safetensors";
  CHECK_THAT(fault_with(outside), Catch::Contains("not mapped to a file of this directory"));
  nlohmann::json absent = index;
  absent["weight_map"]["no.such.tensor"] = absent["weight_map"]["model.norm.weight"];
  CHECK_THAT(fault_with(absent), Catch::Contains("no.such.tensor"));
  CHECK_THAT(fault_with(nlohmann::json::object()), Catch::Contains("weight_map"));
  REQUIRE(
      WriteFileAtomically(temp.path() + "/config.json",
                          std::string(kConfig).replace(std::string(kConfig).find("\"vocab_size\": 8"), 15, "\"vocab_size\": 9"))
          .ok());
  REQUIRE(WriteFileAtomically(index_path, index.dump()).ok());
  CHECK_THAT(ModelDirectory::Open(temp.path()).error().message, Catch::Contains("config.json asks for [9, 4]"));
}

}  // namespace
}  // namespace lorry
