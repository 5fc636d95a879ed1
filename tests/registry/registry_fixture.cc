#include "tests/registry/registry_fixture.h"

#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "model/format/model_config.h"
#include "model/format/safetensors.h"

namespace lorry {
namespace {

const char* kConfig =
    R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6,
  "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16, "tie_word_embeddings": true, "eos_token_id": 2})";
const char* kAdapterConfig =
    R"({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
  "base_model_name_or_path": "/somewhere/else", "inference_mode": true})";

// What a fixture cannot do is the test's own fault.
template <class T>
T Must(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "{}\n", result.error().Format());
    std::abort();
  }
  return std::move(result).value();
}

void Must(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "{}\n", status.error().Format());
  std::abort();
}

std::string SafetensorsBytes(const std::vector<TensorHead>& heads, int seed) {
  const TempDirectory temp;
  const std::string path = temp.path() + "/t";
  Must(WriteSafetensorsStreamed(path, heads, {{"format", "pt"}}, [&](const TensorHead&, std::span<std::byte> bytes) {
    const std::vector<float> values(bytes.size() / sizeof(float), static_cast<float>(seed));
    return FromFloat(DType::kF32, values, bytes);
  }));
  return Must(ReadFile(path));
}

}  // namespace

RegistryFixture::RegistryFixture(std::string home)
    : home_(std::move(home)),
      blobs_(home_),
      store_(Must(Store::Open(home_ + "/state.db", RegistryMigrations(), StoreMode::kCreate))) {}

BlobEntry RegistryFixture::File(const std::string& path, const std::string& bytes) {
  const StoredBlob blob = Must(blobs_.PutBytes(bytes));
  return {path, blob.digest, blob.size};
}

std::vector<BlobEntry> RegistryFixture::ModelFiles(int seed) {
  std::vector<TensorHead> heads;
  for (const ExpectedTensor& tensor : ExpectedTensors(Must(ParseModelConfigText(kConfig, "config.json")))) {
    heads.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  return {File("config.json", kConfig), File("model.safetensors", SafetensorsBytes(heads, seed)), File("tokenizer.json", "{}"),
          File("notes/empty.txt", "")};
}

std::vector<BlobEntry> RegistryFixture::AdapterFiles(int seed) {
  std::vector<TensorHead> heads;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string module = fmt::format("base_model.model.model.layers.{}.self_attn.q_proj", layer);
    heads.push_back({module + ".lora_A.weight", DType::kF32, {2, 4}});
    heads.push_back({module + ".lora_B.weight", DType::kF32, {4, 2}});
  }
  return {File("adapter_config.json", kAdapterConfig), File("adapter_model.safetensors", SafetensorsBytes(heads, seed)),
          File("README.md", "# adapter\n")};
}

Result<Published> RegistryFixture::TryPublish(const Publication& publication) {
  Transaction transaction = Must(store_->Begin());
  LORRY_ASSIGN_OR_RETURN(Published published, Publish(transaction.db(), blobs_, publication, now));
  LORRY_TRY(transaction.Commit());
  return published;
}

Published RegistryFixture::Model(const std::string& name, int seed, bool is_private) {
  Publication publication;
  publication.name = name;
  publication.is_private = is_private;
  publication.files = ModelFiles(seed);
  return Must(TryPublish(publication));
}

Published RegistryFixture::Adapter(const std::string& name, const std::string& base, int seed) {
  Publication publication;
  publication.kind = ItemKind::kAdapter;
  publication.name = name;
  publication.base = base;
  publication.files = AdapterFiles(seed);
  publication.origin.run = RunId("r-1");
  publication.origin.cost_usd = "0.000000000000000001";
  return Must(TryPublish(publication));
}

Result<int64_t> RegistryFixture::Alias(const AliasChange& change) {
  Transaction transaction = Must(store_->Begin());
  LORRY_ASSIGN_OR_RETURN(const int64_t previous, SetAlias(transaction.db(), change, now));
  LORRY_TRY(transaction.Commit());
  return previous;
}

}  // namespace lorry
