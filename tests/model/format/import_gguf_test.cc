#include "model/format/import_gguf.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cstring>

#include "base/files.h"
#include "model/format/model_directory.h"

namespace lorry {
namespace {

const std::string kGolden = "tests/golden/tensors/";

TEST_CASE("an imported GGUF has the weights that transformers reads from it, bit by bit") {
  const TempDirectory temp;
  REQUIRE(ImportGguf(kGolden + "tiny_llama.gguf", temp.path() + "/m", {}).ok());
  const Result<ModelDirectory> model = ModelDirectory::Open(temp.path() + "/m");
  if (!model.ok()) FAIL(model.error().Format());
  const Result<SafetensorsFile> authority = SafetensorsFile::Open(kGolden + "tiny_llama.safetensors");
  REQUIRE(authority.ok());
  CHECK(authority->tensors().size() == ExpectedTensors(model->config()).size());
  for (const TensorView& tensor : authority->tensors()) {
    CAPTURE(tensor.name);
    const TensorView* ours = model->Find(tensor.name);
    REQUIRE(ours != nullptr);
    REQUIRE(ours->shape == tensor.shape);
    CHECK(std::memcmp(ours->bytes.data(), tensor.bytes.data(), tensor.bytes.size()) == 0);
  }
  CHECK(model->config().rope.theta == 20000.0);
  CHECK(model->config().tied_embeddings);
  CHECK(model->generation().eos_ids == std::vector<int32_t>{2});
}

TEST_CASE("an import gives the same bytes every time, and the weights in the type asked for") {
  const TempDirectory temp;
  for (const char* name : {"/a", "/b"}) REQUIRE(ImportGguf(kGolden + "tiny_llama.gguf", temp.path() + name, {}).ok());
  const std::vector<std::string> names = *ListDirectory(temp.path() + "/a");
  CHECK(names == std::vector<std::string>{"chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
                                          "tokenizer.json", "tokenizer_config.json"});
  for (const std::string& name : names) CHECK(*ReadFile(temp.path() + "/a/" + name) == *ReadFile(temp.path() + "/b/" + name));

  REQUIRE(ImportGguf(kGolden + "tiny_llama.gguf", temp.path() + "/c", {.dtype = DType::kBF16, .max_shard_bytes = 20000}).ok());
  const Result<ModelDirectory> brain = ModelDirectory::Open(temp.path() + "/c");
  REQUIRE(brain.ok());
  CHECK(brain->config().dtype == DType::kBF16);
  CHECK(brain->shards().size() > 1);
  CHECK(brain->Find("model.norm.weight")->dtype == DType::kBF16);
}

TEST_CASE("tokenizer.json says how SmolLM cuts its text") {
  const Result<GgufFile> file = GgufFile::Open(kGolden + "tiny_llama.gguf");
  REQUIRE(file.ok());
  const nlohmann::json json = nlohmann::json::parse(*GgufTokenizerJson(*file));
  CHECK(json["pre_tokenizer"]["pretokenizers"][0] == nlohmann::json{{"type", "Digits"}, {"individual_digits", true}});
  CHECK(json["added_tokens"].size() == 3);
  CHECK(json["model"]["vocab"].size() == 280);
  CHECK(json["model"]["merges"][0] == nlohmann::json{"t", "h"});
  CHECK(json["post_processor"]["single"].size() == 1);
}

TEST_CASE("an import that fails leaves nothing behind") {
  const TempDirectory temp;
  const std::string out = temp.path() + "/m";
  CHECK(ImportGguf(kGolden + "types.gguf", out, {}).error().code == ErrorCode::kUnsupported);
  CHECK(ListDirectory(out)->empty());
  CHECK(ImportGguf("/no/such.gguf", out, {}).error().code == ErrorCode::kNotFound);
  REQUIRE(WriteFileAtomically(out + "/mine", "x").ok());
  CHECK(ImportGguf(kGolden + "tiny_llama.gguf", out, {}).error().code == ErrorCode::kConflict);
  CHECK(*ReadFile(out + "/mine") == "x");
}

}  // namespace
}  // namespace lorry
