#include "registry/registry_queries.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/registry/registry_fixture.h"

namespace lorry {
namespace {

using Json = nlohmann::json;

// Asks as lorryd does: writers in a transaction that is committed only where the answer is good.
class Desk {
 public:
  explicit Desk(RegistryFixture* registry) : registry_(registry), queries_(RegistryQueries(registry->blobs())) {}

  Result<Json> Try(const std::string& name, const Json& question) {
    for (const RegistryQuery& query : queries_) {
      if (query.name != name) continue;
      Result<Transaction> transaction = registry_->store().Begin();
      Result<std::string> answer = query.answer(transaction->db(), question.dump(), registry_->now);
      if (!answer.ok()) return std::move(answer).error();
      LORRY_TRY(transaction->Commit());
      return Json::parse(*answer);
    }
    return MakeError(ErrorCode::kInternal, "no such query");
  }
  Json Ask(const std::string& name, const Json& question) {
    Result<Json> answer = Try(name, question);
    if (!answer.ok()) FAIL(name << ": " << answer.error().Format());
    return *answer;
  }

 private:
  RegistryFixture* registry_;
  std::vector<RegistryQuery> queries_;
};

Json FilesJson(const std::vector<BlobEntry>& files) {
  Json json = Json::array();
  for (const BlobEntry& file : files) json.push_back({{"path", file.path}, {"digest", file.digest.hex()}, {"size", file.size}});
  return json;
}

TEST_CASE("a model made of others names them, and is as private as they are") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  Desk desk(&registry);
  registry.Model("acme/base", 1);
  registry.Adapter("acme/lora", "acme/base", 1);
  const auto merged = [&](const std::string& name, const Json& parents) {
    return desk.Try("registry.import",
                    {{"kind", "model"}, {"name", name}, {"files", FilesJson(registry.ModelFiles(2))}, {"parents", parents}});
  };
  REQUIRE(merged("acme/open", {"acme/base@v1", "acme/lora@v1"}).ok());
  const Json lineage = desk.Ask("registry.lineage", {{"reference", "acme/open"}});
  CHECK(lineage["parents"][0]["reference"] == "acme/base@v1");
  CHECK(lineage["parents"][1]["parents"][0]["reference"] == "acme/base@v1");
  CHECK(desk.Ask("registry.show", {{"name", "acme/open"}})["private"] == false);
  desk.Ask("registry.visibility", {{"name", "acme/lora"}, {"private", true}});
  REQUIRE(merged("acme/secret", {"acme/base@v1", "acme/lora@v1"}).ok());
  CHECK(desk.Ask("registry.show", {{"name", "acme/secret"}})["private"] == true);
  CHECK(merged("acme/x", {"acme/none@v1"}).error().code == ErrorCode::kNotFound);
  CHECK(merged("acme/x", "acme/base").error().code == ErrorCode::kUsage);
  CHECK(merged("acme/x", {7}).error().code == ErrorCode::kUsage);
}

TEST_CASE("a life in the registry, by its questions") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  Desk desk(&registry);
  const Json model = desk.Ask(
      "registry.import", {{"kind", "model"}, {"name", "m"}, {"files", FilesJson(registry.ModelFiles(1))}, {"alias", "prod"}});
  CHECK(model["reference"] == "library/m@v1");
  CHECK(model["existing"] == false);
  const Json adapter = desk.Ask("registry.import", {{"kind", "adapter"},
                                                    {"name", "acme/a"},
                                                    {"base", "m@prod"},
                                                    {"files", FilesJson(registry.AdapterFiles(1))},
                                                    {"source", "out/"},
                                                    {"by", "ann@desk"}});
  desk.Ask("registry.import",
           {{"kind", "adapter"}, {"name", "acme/a"}, {"base", "m"}, {"files", FilesJson(registry.AdapterFiles(2))}});

  CHECK(desk.Ask("registry.list", {{"kind", "model"}})["items"][0]["aliases"] == Json{{"prod", "v1"}});
  const Json shown = desk.Ask("registry.show", {{"kind", "adapter"}, {"name", "acme/a"}});
  CHECK(shown["versions"].size() == 2);
  CHECK(shown["versions"][0]["base"] == "library/m@v1");
  CHECK(shown["versions"][0]["source"] == "out/");
  CHECK(shown["versions"][0]["by"] == "ann@desk");
  CHECK(desk.Ask("registry.resolve", {{"reference", "acme/a"}})["version"] == "v2");
  CHECK(desk.Ask("registry.alias", {{"name", "acme/a"}, {"alias", "prod"}, {"version", "v1"}, {"reason", "safe"}})["previous"] ==
        nullptr);
  CHECK(desk.Ask("registry.resolve", {{"reference", "acme/a"}})["version"] == "v1");
  CHECK(desk.Ask("registry.show", {{"name", "acme/a"}})["alias_log"][0]["reason"] == "safe");
  CHECK(desk.Ask("registry.alias_at", {{"name", "acme/a"}, {"alias", "prod"}, {"at", "2030-01-01"}})["reason"] == "safe");
  CHECK(desk.Ask("registry.verify", {{"reference", "acme/a@v1"}})["whole"] == true);
  const Json lineage = desk.Ask("registry.lineage", {{"reference", "acme/a@v1"}});
  CHECK(lineage["parents"][0]["reference"] == "library/m@v1");
  CHECK(lineage["digest"] == adapter["digest"]);
  const Json diff = desk.Ask("registry.diff", {{"from", "acme/a@v1"}, {"to", "acme/a@v2"}});
  CHECK(diff["files"].size() == 1);
  CHECK(diff["files"][0]["path"] == "adapter_model.safetensors");
  // Who asks for a model gets none of the adapter's.
  for (const char* query : {"registry.remove", "registry.resolve", "registry.verify", "registry.lineage"}) {
    CHECK(desk.Try(query, {{"kind", "model"}, {"reference", "acme/a@v2"}}).error().code == ErrorCode::kNotFound);
  }
  CHECK(desk.Try("registry.alias", {{"kind", "model"}, {"name", "acme/a"}, {"alias", "x"}, {"version", "v1"}}).error().code ==
        ErrorCode::kNotFound);
  CHECK(desk.Ask("registry.remove", {{"kind", "adapter"}, {"reference", "acme/a@v2"}})["removed"] == true);
  CHECK(desk.Try("registry.remove", {{"reference", "acme/a@v1"}}).error().code == ErrorCode::kConflict);
}

TEST_CASE("a name is private or public as it was made, until that is changed by name") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  Desk desk(&registry);
  const auto push = [&](const std::string& kind, const std::string& name, const Json& is_private, int seed) {
    Json question = {{"kind", kind}, {"name", name}, {"private", is_private}, {"files", FilesJson(registry.ModelFiles(seed))}};
    if (kind == "adapter") question["base"] = "m", question["files"] = FilesJson(registry.AdapterFiles(seed));
    return desk.Try("registry.import", question);
  };
  const auto stands = [&](const std::string& kind) { return desk.Ask("registry.list", {{"kind", kind}})["items"][0]["private"]; };
  REQUIRE(push("model", "m", nullptr, 1).ok());
  CHECK(stands("model") == false);
  const Error refused = push("model", "m", true, 2).error();
  CHECK(refused.code == ErrorCode::kConflict);
  CHECK(refused.hint.find("lorry model visibility library/m private") != std::string::npos);
  const Json changed = desk.Ask("registry.visibility", {{"kind", "model"}, {"name", "m"}, {"private", true}});
  CHECK(changed["previous"] == false);
  CHECK(stands("model") == true);
  CHECK(push("model", "m", nullptr, 3).ok());
  CHECK(push("model", "m", false, 4).error().code == ErrorCode::kConflict);
  CHECK(push("adapter", "a", nullptr, 1).ok());
  CHECK(stands("adapter") == true);  // as its base
  CHECK(desk.Try("registry.visibility", {{"kind", "model"}, {"name", "a"}, {"private", false}}).error().code ==
        ErrorCode::kNotFound);
  CHECK(desk.Try("registry.visibility", {{"kind", "model"}, {"name", "m"}}).error().key == "private");
}

TEST_CASE("a question that is not one is refused by its key") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  Desk desk(&registry);
  CHECK(desk.Try("registry.show", Json::object()).error().key == "name");
  CHECK(desk.Try("registry.show", {{"name", 3}}).error().key == "name");
  CHECK(desk.Try("registry.import", {{"kind", "model"}, {"name", "m"}, {"files", {1}}}).error().key == "files");
  CHECK(desk.Try("registry.import", {{"kind", "tree"}, {"name", "m"}}).error().code == ErrorCode::kUsage);
  CHECK(desk.Try("registry.alias", {{"name", "m"}, {"alias", "prod"}, {"version", "3"}}).error().key == "version");
  CHECK(desk.Try("registry.list", Json::array()).error().code == ErrorCode::kUsage);
  CHECK(desk.Try("registry.resolve", {{"reference", "m"}}).error().code == ErrorCode::kNotFound);
}

TEST_CASE("a damaged file is named by verify") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  Desk desk(&registry);
  const Published model = registry.Model("m", 1);
  const std::string path = registry.blobs().PathOf(model.entry.manifest.Find("model.safetensors")->digest);
  REQUIRE(RemoveTree(path).ok());
  const Json report = desk.Ask("registry.verify", {{"reference", "m"}});
  CHECK(report["whole"] == false);
  int damaged = 0;
  for (const Json& file : report["files"]) damaged += file["whole"] == false ? 1 : 0;
  CHECK(damaged == 1);
}

}  // namespace
}  // namespace lorry
