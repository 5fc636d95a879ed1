#include "registry/publication.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/registry/registry_fixture.h"

namespace lorry {
namespace {

TEST_CASE("an adapter names its base by registry name and version") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  const Published base = registry.Model("acme/m", 1);
  const Published adapter = registry.Adapter("acme/a", "acme/m", 7);
  CHECK(adapter.entry.manifest.base->digest == base.entry.digest);
  CHECK(adapter.entry.manifest.adapter->r == 2);
  CHECK(adapter.entry.manifest.adapter->parameters == 2 * (2 * 4 + 4 * 2));
  const ManifestFile* file = adapter.entry.manifest.Find("adapter_config.json");
  REQUIRE(file != nullptr);
  const nlohmann::json config = nlohmann::json::parse(*registry.blobs().ReadBytes(file->digest, 1 << 20));
  CHECK(config["base_model_name_or_path"] == "acme/m");
  CHECK(config["revision"] == "v1");
  CHECK(config["lora_alpha"] == 4);
  CHECK(registry.Adapter("acme/a", "acme/m", 7).existing);
}

TEST_CASE("files know what Git would call them") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  const Published model = registry.Model("acme/m", 1);
  const ManifestFile* notes = model.entry.manifest.Find("notes/empty.txt");
  const ManifestFile* weights = model.entry.manifest.Find("model.safetensors");
  CHECK(notes->git_oid == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");  // Git's empty blob
  CHECK_FALSE(notes->large);
  CHECK(weights->large);
}

TEST_CASE("what is not whole or does not fit is refused with file and reason") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  registry.Model("acme/m", 1);
  const auto fault = [&](ItemKind kind, std::vector<BlobEntry> files) {
    Publication publication;
    publication.kind = kind;
    publication.name = "acme/x";
    publication.base = kind == ItemKind::kAdapter ? "acme/m" : "";
    publication.files = std::move(files);
    const Result<Published> published = registry.TryPublish(publication);
    REQUIRE_FALSE(published.ok());
    return published.error().Format();
  };
  const auto with = [](std::vector<BlobEntry> files, const BlobEntry& changed) {
    std::erase_if(files, [&](const BlobEntry& file) { return file.path == changed.path; });
    files.push_back(changed);
    return files;
  };
  const std::vector<BlobEntry> model = registry.ModelFiles(1), adapter = registry.AdapterFiles(1);
  const ItemKind kModel = ItemKind::kModel, kAdapter = ItemKind::kAdapter;
  const auto adapter_config = [&](const std::string& json) { return with(adapter, registry.File("adapter_config.json", json)); };
  CHECK_THAT(fault(kModel, {}), Catch::Contains("0 files"));
  CHECK_THAT(fault(kModel, with(model, registry.File("../x", "x"))), Catch::Contains("no name for a file"));
  CHECK_THAT(fault(kModel, with(model, registry.File("pytorch_model.bin", "x"))), Catch::Contains("pickled"));
  CHECK_THAT(fault(kModel, with(model, registry.File("model.safetensors", ""))), Catch::Contains("is empty"));
  CHECK_THAT(fault(kModel, with(model, registry.File("model.safetensors", "xxxxxxxxxxxx"))),
             Catch::StartsWith("model.safetensors: "));
  CHECK_THAT(fault(kModel, with(model, registry.File("config.json", "{}"))), Catch::StartsWith("config.json: model_type"));
  CHECK_THAT(fault(kModel, with(model, {"lost.txt", Sha256Of("lost"), 4})), Catch::Contains("not in the store"));
  CHECK_THAT(fault(kAdapter, {registry.File("adapter_config.json", "{}")}),
             Catch::Contains("adapter_model.safetensors: is missing"));
  CHECK_THAT(fault(kAdapter, adapter_config(R"({"peft_type": "IA3"})")), Catch::Contains("peft_type"));
  CHECK_THAT(fault(kAdapter, adapter_config(R"({"peft_type": "LORA", "r": 3, "target_modules": ["q_proj"]})")),
             Catch::Contains("has rank 2; adapter_config.json says 3"));
  CHECK_THAT(fault(kAdapter, with(adapter, registry.File("adapter_model.safetensors", "short"))),
             Catch::StartsWith("adapter_model.safetensors: "));
}

TEST_CASE("an adapter made for another base is refused") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  registry.Model("acme/m", 1);
  std::string config = *registry.blobs().ReadBytes(registry.ModelFiles(1)[0].digest, 1 << 20);
  config.replace(config.find("\"hidden_size\": 4"), 16, "\"hidden_size\": 8");
  const Error error =
      CheckAdapterFiles(registry.blobs(), registry.AdapterFiles(1), {registry.File("config.json", config)}).error();
  CHECK_THAT(error.message, Catch::Contains("made for a layer of [4, 4]; the base's is [8, 8]"));
}

}  // namespace
}  // namespace lorry
