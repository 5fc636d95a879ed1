#include "registry/name_index.h"

#include <catch2/catch.hpp>

#include "tests/registry/registry_fixture.h"

namespace lorry {
namespace {

TEST_CASE("versions count up, never change, and the same content is the same version") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  const Published first = registry.Model("acme/m", 1);
  const Published second = registry.Model("acme/m", 2);
  const Published again = registry.Model("acme/m", 1);
  CHECK(first.entry.Text() == "acme/m@v1");
  CHECK(second.entry.Text() == "acme/m@v2");
  CHECK((again.existing && again.entry.Text() == "acme/m@v1" && again.entry.digest == first.entry.digest));
  Result<Reader> reader = registry.store().Read();
  CHECK(FindVersion(reader->db(), "acme/m", "")->Text() == "acme/m@v2");
  CHECK(FindVersion(reader->db(), "acme/m", "v1")->digest == first.entry.digest);
  CHECK(FindVersion(reader->db(), "acme/m", CommitOf(first.entry.digest))->Text() == "acme/m@v1");
  const Error missing = FindVersion(reader->db(), "acme/m", "v4").error();
  CHECK(missing.Format() == "registry: acme/m@v4 not found; versions are v1, v2");
  CHECK(FindVersion(reader->db(), "acme/x", "").error().code == ErrorCode::kNotFound);
}

TEST_CASE("aliases move by compare-and-set, and the log knows where they stood") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  for (int seed = 1; seed <= 3; ++seed) registry.Model("acme/m", seed);
  registry.now = Instant(1000);
  CHECK(*registry.Alias({"acme/m", "prod", 1, std::nullopt, "ann", "first"}) == 0);
  registry.now = Instant(2000);
  CHECK(registry.Alias({"acme/m", "prod", 3, 2, "bob", "blind"}).error().code == ErrorCode::kConflict);
  CHECK(*registry.Alias({"acme/m", "prod", 3, 1, "bob", "better"}) == 1);
  CHECK(*registry.Alias({"acme/m", "prod", 3, std::nullopt, "eve", "again"}) == 3);
  CHECK(registry.Alias({"acme/m", "prod", 9, std::nullopt, "bob", ""}).error().code == ErrorCode::kNotFound);
  CHECK(registry.Alias({"acme/m", "main", 1, std::nullopt, "bob", ""}).error().code == ErrorCode::kUsage);
  registry.now = Instant(3000);
  CHECK(*registry.Alias({"acme/m", "old/eu", 1, 0, "bob", ""}) == 0);
  CHECK(*registry.Alias({"acme/m", "old/eu", 0, 1, "bob", "gone"}) == 1);

  Result<Reader> reader = registry.store().Read();
  Database& db = reader->db();
  CHECK(FindVersion(db, "acme/m", "main")->Text() == "acme/m@v3");
  CHECK(ResolveReference(db, "acme/m@prod")->Text() == "acme/m@v3");
  CHECK(FindVersion(db, "acme/m", "old/eu").error().Format() ==
        "registry: acme/m@old/eu not found; versions are v1..v3, alias prod is v3");
  CHECK(AliasAt(db, "acme/m", "prod", Instant(999)).error().code == ErrorCode::kNotFound);
  CHECK(AliasAt(db, "acme/m", "prod", Instant(1999))->version == 1);
  CHECK(AliasAt(db, "acme/m", "prod", Instant(2000))->by == "bob");
  const std::vector<AliasMove> moves = *AliasHistory(db, "acme/m");
  CHECK(moves.size() == 4);
  CHECK((moves[1].alias == "prod" && moves[1].version == 3 && moves[1].by == "bob" && moves[1].reason == "better"));
  CHECK((moves[3].alias == "old/eu" && moves[3].version == 0));
  CHECK(*ListAliases(db, "acme/m") == std::map<std::string, int64_t>{{"prod", 3}});
}

TEST_CASE("names keep their kind and their case") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  registry.Model("acme/m", 1);
  Publication other;
  other.kind = ItemKind::kAdapter;
  other.name = "acme/m";
  other.base = "acme/m";
  other.files = registry.AdapterFiles(1);
  CHECK(registry.TryPublish(other).error().code == ErrorCode::kConflict);
  other.name = "ACME/a";
  CHECK(registry.TryPublish(other).ok());
  other.name = "acme/A";
  CHECK_THAT(registry.TryPublish(other).error().message, Catch::Contains("differs from ACME/a in case only"));
}

TEST_CASE("a version that something needs is not removed, and its number is not given again") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  registry.Model("acme/m", 1);
  const Published second = registry.Model("acme/m", 2);
  registry.Adapter("acme/a", "acme/m@v1", 1);
  Result<Transaction> transaction = registry.store().Begin();
  Database& db = transaction->db();
  CHECK_THAT(RemoveVersion(db, *FindVersion(db, "acme/m", "v1"), registry.now).error().message,
             Catch::Contains("acme/a@v1 is built on"));
  REQUIRE(SetAlias(db, {"acme/m", "prod", 2, std::nullopt, "", ""}, registry.now).ok());
  CHECK(RemoveVersion(db, second.entry, registry.now).error().code == ErrorCode::kConflict);
  REQUIRE(SetAlias(db, {"acme/m", "prod", 0, std::nullopt, "", ""}, registry.now).ok());
  REQUIRE(RemoveVersion(db, second.entry, registry.now).ok());
  REQUIRE(transaction->Commit().ok());
  CHECK(registry.Model("acme/m", 2).entry.Text() == "acme/m@v3");
}

TEST_CASE("a manifest comes back from its JSON as it was") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  registry.Model("acme/m", 1);
  const Published adapter = registry.Adapter("acme/a", "acme/m", 1);
  const std::string json = ManifestJson(adapter.entry.manifest);
  CHECK(Sha256Of(json) == adapter.entry.digest);
  CHECK(ManifestJson(*ParseManifest(json)) == json);
  CHECK(ParseManifest(json)->adapter->alpha == 4.0);
  CHECK_FALSE(ParseManifest("{}").ok());
}

}  // namespace
}  // namespace lorry
