#include "registry/hub_face.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "registry/hub_route.h"
#include "tests/registry/registry_fixture.h"

namespace lorry {
namespace {

using Json = nlohmann::json;

std::string HeaderOf(const HubResponse& response, const std::string& name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return "";
}

class Hub {
 public:
  explicit Hub(RegistryFixture* registry) : registry_(registry) {}

  HubResponse Ask(HubRequest request) {
    Result<Reader> reader = registry_->store().Read();
    return AnswerHub(reader->db(), registry_->blobs(), request);
  }
  HubResponse Get(const std::string& path, const std::string& range = "") {
    HubRequest request;
    request.path = path;
    request.range = range;
    return Ask(request);
  }
  Json GetJson(const std::string& path) {
    const HubResponse response = Get(path);
    CAPTURE(path, response.body);
    REQUIRE(response.status == 200);
    return Json::parse(response.body);
  }

 private:
  RegistryFixture* registry_;
};

TEST_CASE("which paths are a Hugging Face client's") {
  struct Row {
    const char* path;
    HubQuestion question;
    const char* repository;
    const char* revision;
    const char* file;
  };
  const Row rows[] = {
      {"/api/models/a/b", HubQuestion::kModelInfo, "a/b", "", ""},
      {"/api/models/b", HubQuestion::kModelInfo, "b", "", ""},
      {"/api/models/a/b/revision/prod%2Feu", HubQuestion::kModelInfo, "a/b", "prod/eu", ""},
      {"/api/models/b/revision/main", HubQuestion::kModelInfo, "b", "main", ""},
      {"/api/models/a/b/tree/main", HubQuestion::kTree, "a/b", "main", ""},
      {"/api/models/a/b/tree/main/x%2Fy", HubQuestion::kTree, "a/b", "main", "x/y"},
      {"/api/models/a/b/paths-info/main", HubQuestion::kPathsInfo, "a/b", "main", ""},
      {"/api/models/a/b/refs", HubQuestion::kRefs, "a/b", "", ""},
      {"/a/b/resolve/prod%2Feu/x/y%20z", HubQuestion::kFile, "a/b", "prod/eu", "x/y z"},
      {"/b/resolve/v1/x", HubQuestion::kFile, "b", "v1", "x"},
      {"/a/b/raw/v1/x", HubQuestion::kFile, "a/b", "v1", "x"},
      {"/api/whoami-v2", HubQuestion::kWhoAmI, "", "", ""},
      {"/api/models", HubQuestion::kModelList, "", "", ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.path);
    const std::optional<HubRoute> route = ParseHubPath(row.path);
    REQUIRE(route.has_value());
    CHECK((route->question == row.question && route->repository == row.repository && route->revision == row.revision &&
           route->path == row.file));
  }
  for (const char* path : {"/", "/runs/r-1", "/registry/a/b", "/cost", "/v1/runs", "/api/datasets/a/b", "/a/b/resolve/main",
                           "/a/b/resolve/%zz/x", "/a/b/resolve/%00/x", "/api/models/a/b/c/d"}) {
    CAPTURE(path);
    CHECK_FALSE(IsHubPath(path));
  }
}

TEST_CASE("a file is found under main, version, alias, commit and the pinned name") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  const Published first = registry.Model("acme/m", 1);
  const Published second = registry.Model("acme/m", 2);
  REQUIRE(registry.Alias({"acme/m", "prod/eu", 1, std::nullopt, "", ""}).ok());
  Hub hub(&registry);
  const std::string commit1 = CommitOf(first.entry.digest), commit2 = CommitOf(second.entry.digest);
  struct Row {
    std::string repository, revision, commit;
  };
  const Row rows[] = {{"acme/m", "main", commit2},      {"acme/m", "HEAD", commit2},    {"acme/m", "v1", commit1},
                      {"acme/m", "prod%2Feu", commit1}, {"acme/m", commit1, commit1},   {"acme/m.v1", "main", commit1},
                      {"acme/m.v1", "v1", commit1},     {"acme/m.v1", commit1, commit1}};
  for (const Row& row : rows) {
    CAPTURE(row.repository, row.revision);
    const HubResponse response = hub.Get("/" + row.repository + "/resolve/" + row.revision + "/model.safetensors");
    CHECK(response.status == 200);
    CHECK(HeaderOf(response, "X-Repo-Commit") == row.commit);
    REQUIRE(response.file.has_value());
    CHECK(HeaderOf(response, "ETag") == "\"" + response.file->path.substr(response.file->path.rfind('/') + 1) + "\"");
  }
  CHECK(HeaderOf(hub.Get("/acme/m/resolve/v1/notes/empty.txt"), "ETag") == "\"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\"");
  CHECK(HeaderOf(hub.Get("/acme/m.v1/resolve/v2/config.json"), "X-Error-Code") == "RevisionNotFound");
}

TEST_CASE("faults are told apart by X-Error-Code") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  registry.Model("acme/m", 1);
  registry.Model("acme/secret", 3, true);
  Hub hub(&registry);
  struct Row {
    const char* path;
    int status;
    const char* code;
  };
  const Row rows[] = {
      {"/acme/x/resolve/main/config.json", 404, "RepoNotFound"},
      {"/api/models/acme/x", 404, "RepoNotFound"},
      {"/acme/m.v7/resolve/main/config.json", 404, "RepoNotFound"},
      {"/acme/m/resolve/v9/config.json", 404, "RevisionNotFound"},
      {"/api/models/acme/m/revision/nope", 404, "RevisionNotFound"},
      {"/acme/m/resolve/main/absent.json", 404, "EntryNotFound"},
      {"/api/models/acme/m/tree/main/additional_chat_templates", 404, "EntryNotFound"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.path);
    const HubResponse response = hub.Get(row.path);
    CHECK(response.status == row.status);
    CHECK(HeaderOf(response, "X-Error-Code") == row.code);
    if (std::string(row.code) == "EntryNotFound") CHECK(HeaderOf(response, "X-Repo-Commit").size() == 40);
  }
  HubRequest stranger;
  stranger.path = "/api/models/acme/secret";
  stranger.may_read_private = false;
  CHECK(hub.Ask(stranger).status == 401);
  CHECK(HeaderOf(hub.Ask(stranger), "X-Error-Code") == "RepoNotFound");
  stranger.path = "/acme/secret.v1/resolve/main/config.json";
  CHECK(hub.Ask(stranger).status == 401);
  stranger.path = "/api/models";
  CHECK(Json::parse(hub.Ask(stranger).body).size() == 1);
  stranger.path = "/api/whoami-v2";
  CHECK(hub.Ask(stranger).status == 401);
}

TEST_CASE("ranges are exact") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  const Published model = registry.Model("acme/m", 1);
  Hub hub(&registry);
  const uint64_t size = model.entry.manifest.Find("config.json")->size;
  struct Row {
    std::string range;
    int status;
    uint64_t offset, length;
    std::string content_range;
  };
  const std::string total = "/" + std::to_string(size), last = std::to_string(size - 1);
  const Row rows[] = {
      {"", 200, 0, size, ""},
      {"bytes=0-0", 206, 0, 1, "bytes 0-0" + total},
      {"bytes=10-", 206, 10, size - 10, "bytes 10-" + last + total},
      {"bytes=10-19", 206, 10, 10, "bytes 10-19" + total},
      {"bytes=10-999999", 206, 10, size - 10, "bytes 10-" + last + total},
      {"bytes=-5", 206, size - 5, 5, "bytes " + std::to_string(size - 5) + "-" + last + total},
      {"bytes=-999999", 206, 0, size, "bytes 0-" + last + total},
      {"bytes=5-2", 200, 0, size, ""},
      {"bytes=0-1,3-4", 200, 0, size, ""},
      {"lines=1-2", 200, 0, size, ""},
      {"bytes=x-", 200, 0, size, ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.range);
    const HubResponse response = hub.Get("/acme/m/resolve/main/config.json", row.range);
    CHECK(response.status == row.status);
    REQUIRE(response.file.has_value());
    CHECK((response.file->offset == row.offset && response.file->length == row.length));
    CHECK(HeaderOf(response, "Content-Range") == row.content_range);
  }
  const HubResponse behind = hub.Get("/acme/m/resolve/main/config.json", "bytes=999999-");
  CHECK(behind.status == 416);
  CHECK(HeaderOf(behind, "Content-Range") == "bytes */" + std::to_string(size));
  const HubResponse empty = hub.Get("/acme/m/resolve/main/notes/empty.txt", "bytes=0-0");
  CHECK(empty.status == 200);
  CHECK(HeaderOf(empty, "Content-Range") == "bytes */0");
}

TEST_CASE("what the interface lists") {
  const TempDirectory home;
  RegistryFixture registry(home.path());
  const Published model = registry.Model("acme/m", 1);
  registry.Adapter("acme/a", "acme/m", 1);
  REQUIRE(registry.Alias({"acme/m", "prod", 1, std::nullopt, "", ""}).ok());
  Hub hub(&registry);
  const Json info = hub.GetJson("/api/models/acme/m");
  CHECK(info["id"] == "acme/m");
  CHECK(info["sha"] == CommitOf(model.entry.digest));
  CHECK(info["siblings"].size() == 4);
  CHECK(info["siblings"][0] == Json{{"rfilename", "config.json"}});
  CHECK(hub.GetJson("/api/models/acme/a")["library_name"] == "peft");
  CHECK(hub.GetJson("/api/models/acme/m.v1")["id"] == "acme/m.v1");

  HubRequest blobs;
  blobs.path = "/api/models/acme/m";
  blobs.query = {{"blobs", "True"}};
  CHECK(Json::parse(hub.Ask(blobs).body)["siblings"][1]["lfs"]["sha256"] ==
        model.entry.manifest.Find("model.safetensors")->digest.hex());

  const Json tree = hub.GetJson("/api/models/acme/m/tree/main");
  CHECK(tree.size() == 4);  // notes is a directory
  CHECK(tree[2]["type"] == "directory");
  HubRequest deep;
  deep.path = "/api/models/acme/m/tree/main";
  deep.query = {{"recursive", "true"}, {"expand", "false"}};
  CHECK(Json::parse(hub.Ask(deep).body).size() == 5);
  CHECK(hub.GetJson("/api/models/acme/m/tree/main/notes")[0]["path"] == "notes/empty.txt");

  const Json refs = hub.GetJson("/api/models/acme/m/refs");
  CHECK(refs["branches"].size() == 2);
  CHECK(refs["tags"][0]["name"] == "v1");

  HubRequest paths;
  paths.method = "POST";
  paths.path = "/api/models/acme/m/paths-info/main";
  paths.body = "paths=config.json&paths=notes&paths=absent&expand=False";
  CHECK(Json::parse(hub.Ask(paths).body).size() == 2);
  paths.content_type = "application/json";
  paths.body = R"({"paths": ["notes/empty.txt"], "expand": true})";
  CHECK(Json::parse(hub.Ask(paths).body)[0]["lastCommit"]["id"] == CommitOf(model.entry.digest));
  paths.body = "[]";
  CHECK(hub.Ask(paths).status == 400);
  // path | method | what is allowed
  const std::string listed = "/api/models";
  const std::tuple<std::string, std::string, std::string> refused[] = {
      {paths.path, "GET", "POST"},
      {paths.path, "DELETE", "POST"},
      {listed, "POST", "GET, HEAD"},
      {listed, "DELETE", "GET, HEAD"},
      {"/acme/m/resolve/main/config.json", "PUT", "GET, HEAD"},
  };
  for (const auto& [path, method, allowed] : refused) {
    CAPTURE(path, method);
    HubRequest request;
    request.path = path;
    request.method = method;
    CHECK(hub.Ask(request).status == 405);
    CHECK(HeaderOf(hub.Ask(request), "Allow") == allowed);
  }
}

}  // namespace
}  // namespace lorry
