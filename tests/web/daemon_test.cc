// lorryd in a temporary home: pages, data, access rules, asked through Site as the HTTP server asks it.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "scheduler/scheduler.h"
#include "tests/registry/registry_fixture.h"
#include "tests/scheduler/hand_worker.h"
#include "web/books_desk.h"
#include "web/daemon.h"
#include "web/site.h"

namespace lorry {
namespace {

using nlohmann::json;

class Lorryd {
 public:
  Lorryd() {
    DaemonOptions options;
    options.home = home_.path();
    options.http_port = options.client_port = options.worker_port = 0;
    const std::string prices = "prices:\n  - {device: cpu, usd_per_hour: 0.05, from: 2026-01-01, source: a test}\n";
    REQUIRE(WriteFileAtomically(home_.path() + "/prices.yaml", prices).ok());
    auto daemon = Daemon::Start(options);
    REQUIRE(daemon.ok());
    daemon_ = std::move(*daemon);
    site_ = std::make_unique<Site>(&daemon_->scheduler(), true);
  }

  // What the HTTP server makes of a request line and headers.
  static HttpRequest Request(const std::string& method, const std::string& path,
                             std::map<std::string, std::string> headers = {}) {
    HttpRequest request;
    request.method = method;
    request.path = path;
    std::string part;
    for (char c : path + "/") {
      if (c != '/') {
        part += c;
        continue;
      }
      if (!part.empty()) request.segments.push_back(*AddressText(part));
      part.clear();
    }
    request.from_loopback = true;
    request.headers = std::move(headers);
    request.headers["host"] = "127.0.0.1:8600";
    return request;
  }

  HttpResponse Get(const std::string& path, const std::string& token = "", bool from_loopback = true) {
    HttpRequest request = Request("GET", path);
    request.from_loopback = from_loopback;
    if (!token.empty()) request.headers["authorization"] = "Bearer " + token;
    return site_->Handle(request);
  }

  // A form that a browser sends, with the cookie that it has.
  HttpResponse Post(const std::string& path, const std::string& form, const std::string& cookie = "") {
    HttpRequest request = Request("POST", path, {{"content-length", std::to_string(form.size())}, {"cookie", cookie}});
    request.body = form;
    return site_->Handle(request);
  }
  HttpResponse Browse(const std::string& path, const std::string& cookie) {
    return site_->Handle(Request("GET", path, {{"cookie", cookie}}));
  }

  // A tiny model's first version.
  void Import(const std::string& name, bool is_private) {
    TempDirectory made;
    RegistryFixture fixture(made.path());
    json files = json::array();
    for (const BlobEntry& file : fixture.ModelFiles(1)) {
      const auto bytes = ReadFile(fixture.blobs().PathOf(file.digest));
      REQUIRE(BlobStore(home_.path()).PutBytes(*bytes).ok());
      files.push_back({{"path", file.path}, {"digest", file.digest.hex()}, {"size", file.size}});
    }
    Query("registry.import",
          {{"kind", "model"},
           {"name", name},
           {"private", is_private},
           {"base", nullptr},
           {"alias", nullptr},
           {"source", "a test"},
           {"by", "a test"},
           {"files", files}},
          "i-" + name);
  }

  std::string Submit(const std::string& id, const std::string& name) {
    const json job = {
        {"kind", "command"}, {"name", name}, {"project", "docs"}, {"argv", {"/bin/true"}}, {"resources", {{"cpus", 1}}}};
    auto made = daemon_->scheduler().Call<wire::Submitted>(wire::Submit{SubmissionId(id), job.dump(), {}});
    if (!made.ok()) FAIL(made.error().Format());
    return made->run.str();
  }

  Result<std::string> TryQuery(const std::string& name, const json& question) {
    LORRY_ASSIGN_OR_RETURN(const wire::JsonReply reply,
                           daemon_->scheduler().Call<wire::JsonReply>(wire::Query{name, question.dump(), ""}));
    return reply.json;
  }

  json Query(const std::string& name, const json& question, const std::string& key) {
    auto answer = daemon_->scheduler().Call<wire::JsonReply>(wire::Query{name, question.dump(), key});
    if (!answer.ok()) FAIL(answer.error().Format());
    return json::parse(answer->json);
  }

  // {id, token}: as the command line makes one.
  json MakeToken(const std::string& role) {
    const std::string token = "lorry_" + role;
    json made = Query("token.create", {{"role", role}, {"note", ""}, {"sha256", Sha256Of(token).hex()}}, "make " + role);
    made["token"] = token;
    return made;
  }

  TempDirectory home_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Site> site_;
};

TEST_CASE("every page of an empty home stands, and says what to do") {
  Lorryd lorryd;
  for (const char* path : {"/", "/cost", "/registry", "/workers"}) {
    INFO(path);
    const HttpResponse page = lorryd.Get(path);
    CHECK(page.status == 200);
    CHECK(page.body.find("<!doctype html>") == 0);
    CHECK(page.body.find("width=device-width") != std::string::npos);
  }
  CHECK(lorryd.Get("/").body.find("lorry submit") != std::string::npos);
  CHECK(lorryd.Get("/healthz").status == 200);
  CHECK(lorryd.Get("/readyz").status == 200);
  CHECK(lorryd.Get("/metrics").body.find("lorry_runs{state=\"queued\"} 0") != std::string::npos);
  CHECK(lorryd.Get("/nothing").status == 404);
  CHECK(lorryd.Get("/runs/r-none").status == 404);
  for (const char* path : {"/v1/batches", "/v1/files/f-1", "/v1/fine_tuning/jobs", "/v1/models", "/v2/"}) {
    INFO(path);
    CHECK(lorryd.Get(path).status == 501);
    CHECK(lorryd.Get(path).body.find("not in this version") != std::string::npos);
  }
  CHECK(json::parse(lorryd.Get("/v1/runs").body)["runs"].empty());
  CHECK(json::parse(lorryd.Get("/v1/runs/r-none").body)["error"]["code"] == "not_found");
  const auto costs = lorryd.daemon_->scheduler().Call<wire::JsonReply>(wire::Query{"cost.report", R"({"run":"r-none"})", ""});
  CHECK(costs.error().code == ErrorCode::kNotFound);
}

TEST_CASE("a run that waits is on its page, escaped, and in the data") {
  Lorryd lorryd;
  const std::string run = lorryd.Submit("s-echo", "echo");
  CHECK(lorryd.Get("/").body.find(">" + run + "</a>") != std::string::npos);
  const HttpResponse page = lorryd.Get("/runs/" + run);
  CHECK(page.status == 200);
  CHECK(page.body.find("class=\"state queued\"") != std::string::npos);
  const json data = json::parse(lorryd.Get("/v1/runs").body);
  REQUIRE(data["runs"].size() == 1);
  CHECK(data["runs"][0]["run"] == run);
  CHECK(lorryd.Get("/v1/runs/" + run + "/events").body.find("event: submitted") != std::string::npos);
  CHECK(lorryd.Get("/v1/runs/" + run + "/metrics").body.empty());
}

std::string HeaderOf(const HttpResponse& response, const std::string& name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return "";
}

TEST_CASE("tokens: none is needed at first; from the first one on strangers see all but private names") {
  Lorryd lorryd;
  lorryd.Import("acme/open", false);
  lorryd.Import("acme/hidden", true);
  CHECK(lorryd.Get("/v1/runs", "ignored").status == 200);
  CHECK(lorryd.Get("/v1/runs", "", false).status == 401);
  CHECK(lorryd.Get("/registry").body.find("acme/hidden") != std::string::npos);
  const std::string run = lorryd.Submit("s-echo", "echo");
  CHECK(lorryd.Query("token.list", json::object(), "")["open"] == true);
  const json admin = lorryd.MakeToken("admin");
  const json serving = lorryd.MakeToken("serving");
  const json finance = lorryd.MakeToken("finance");
  CHECK(lorryd.Query("token.list", json::object(), "")["tokens"].size() == 3);
  const json engineer = {{"role", "engineer"}, {"note", ""}, {"sha256", std::string(64, 'e')}};
  CHECK(lorryd.TryQuery("token.create", engineer).error().code == ErrorCode::kUnsupported);
  // path | token | status
  const std::tuple<std::string, std::string, int> cases[] = {
      {"/", "", 200},
      {"/runs/" + run, "", 200},
      {"/cost", "", 200},
      {"/workers", "", 200},
      {"/metrics", "", 200},
      {"/healthz", "", 200},
      {"/v1/runs", "", 200},
      {"/v1/runs", "wrong", 401},
      {"/", "wrong", 401},
      {"/v1/runs", admin["token"], 200},
      {"/v1/runs", serving["token"], 403},
      {"/v1/costs", finance["token"], 200},
      {"/v1/costs", serving["token"], 403},
      {"/v1/runs/" + run, finance["token"], 403},
      {"/registry", "", 200},
      {"/registry/acme/open", "", 200},
      {"/registry/acme/hidden", "", 401},
      {"/registry/acme/none", "", 401},
      {"/registry/acme/hidden", admin["token"], 200},
      {"/registry/acme/hidden", serving["token"], 200},
      {"/registry/acme/hidden", finance["token"], 404},
      {"/v1/registry/models/acme/open", "", 200},
      {"/v1/registry/models/acme/hidden", "", 401},
      {"/v1/registry/models/acme/none", "", 401},
      {"/v1/registry/models/acme/none", admin["token"], 404},
      {"/api/models/acme/hidden", "", 401},
  };
  for (const auto& [path, token, status] : cases) {
    INFO(path << " " << token);
    CHECK(lorryd.Get(path, token).status == status);
  }
  for (const char* path : {"/registry", "/v1/registry/models"}) {
    CHECK(lorryd.Get(path).body.find("acme/open") != std::string::npos);
    CHECK(lorryd.Get(path).body.find("acme/hidden") == std::string::npos);
  }
  CHECK(HeaderOf(lorryd.Get("/v1/registry/models/acme/hidden"), "X-Error-Code") == "RepoNotFound");
  lorryd.Query("token.revoke", {{"id", serving["id"]}}, "k4");
  CHECK(lorryd.Get("/v1/runs", serving["token"]).status == 401);
  lorryd.Query("token.revoke", {{"id", finance["id"]}}, "k5");
  lorryd.Query("token.revoke", {{"id", admin["id"]}}, "k6");
  CHECK(lorryd.Get("/").status == 200);
  CHECK(lorryd.Get("/registry/acme/hidden").status == 401);  // not open again
  const json list = lorryd.Query("token.list", json::object(), "");
  CHECK(list["tokens"].empty());
  CHECK(list["open"] == false);
}

TEST_CASE("a browser signs in with a token, and has its role until it signs out or the token is revoked") {
  Lorryd lorryd;
  lorryd.Import("acme/hidden", true);
  CHECK(lorryd.Get("/sign-in").body.find("none is needed") != std::string::npos);
  const json token = lorryd.MakeToken("viewer");
  const HttpResponse asked = lorryd.Get("/registry/acme/hidden");
  CHECK(asked.status == 401);
  CHECK(asked.body.find("name=\"next\" value=\"/registry/acme/hidden\"") != std::string::npos);
  CHECK(lorryd.Post("/sign-in", "token=wrong&next=/").status == 401);

  const std::string form = "token=" + token["token"].get<std::string>() + "&next=%2Fregistry%2Facme%2Fhidden";
  const HttpResponse entered = lorryd.Post("/sign-in", form);
  CHECK(entered.status == 303);
  CHECK(HeaderOf(entered, "Location") == "/registry/acme/hidden");
  const std::string given = HeaderOf(entered, "Set-Cookie");
  CHECK(given.find("; Path=/; HttpOnly; SameSite=Strict;") != std::string::npos);
  CHECK(given.find("Secure") == std::string::npos);
  CHECK(given.find(token["token"].get<std::string>()) == std::string::npos);
  const std::string cookie = "other=1; " + given.substr(0, given.find(';'));
  CHECK(lorryd.Browse("/registry/acme/hidden", cookie).status == 200);
  CHECK(lorryd.Browse("/sign-in", cookie).body.find("role viewer") != std::string::npos);

  CHECK(lorryd.site_->Handle(Lorryd::Request("GET", "/sign-out", {{"cookie", cookie}})).status == 405);
  CHECK(lorryd.Browse("/registry/acme/hidden", cookie).status == 200);
  const HttpResponse left = lorryd.Post("/sign-out", "", cookie);
  CHECK(HeaderOf(left, "Set-Cookie").find("lorry_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0") == 0);
  CHECK(lorryd.Browse("/registry/acme/hidden", cookie).status == 401);

  const std::string again = HeaderOf(lorryd.Post("/sign-in", form), "Set-Cookie");
  CHECK(lorryd.Browse("/registry/acme/hidden", again).status == 200);
  lorryd.Query("token.revoke", {{"id", token["id"]}}, "k2");
  CHECK(lorryd.Browse("/registry/acme/hidden", again).status == 401);
  CHECK(lorryd.Browse("/", again).status == 200);  // as any stranger on loopback
}

TEST_CASE("the form leads nowhere else, is not another site's, and its cookie is for TLS where there is some") {
  Lorryd lorryd;
  const json token = lorryd.MakeToken("viewer");
  const std::string form = "token=" + token["token"].get<std::string>() + "&next=";
  for (const char* next : {"https://elsewhere", "//elsewhere", "/%5Celsewhere", "/a%0D%0AX:1", ""}) {
    INFO(next);
    CHECK(HeaderOf(lorryd.Post("/sign-in", form + next), "Location") == "/");
  }
  HttpRequest request = Lorryd::Request("POST", "/sign-in", {{"content-length", "90"}, {"origin", "https://elsewhere"}});
  request.body = form;
  CHECK(lorryd.site_->Handle(request).status == 403);
  request.headers["origin"] = "https://127.0.0.1:8600";
  request.tls = true;
  CHECK(HeaderOf(lorryd.site_->Handle(request), "Set-Cookie").find("; Secure") != std::string::npos);
  request.headers["content-length"] = "100000";
  CHECK(lorryd.site_->Refuse(request)->status == 413);
}

TEST_CASE("beyond loopback a page without a token is the form, data is an error, and a session opens both") {
  Lorryd lorryd;
  const json token = lorryd.MakeToken("admin");
  Site site(&lorryd.daemon_->scheduler(), false);
  const auto get = [&](const std::string& path, const std::string& cookie) {
    return site.Handle(Lorryd::Request("GET", path, {{"cookie", cookie}}));
  };
  for (const char* path : {"/", "/cost", "/registry", "/workers"}) {
    INFO(path);
    CHECK(get(path, "").status == 401);
    CHECK(get(path, "").body.find("action=\"/sign-in\"") != std::string::npos);
  }
  CHECK(get("/v1/runs", "").status == 401);
  CHECK(json::parse(get("/v1/runs", "").body)["error"]["code"] == "not_allowed");
  CHECK(get("/sign-in", "").status == 200);
  HttpRequest request = Lorryd::Request("POST", "/sign-in", {{"content-length", "60"}});
  CHECK_FALSE(site.Refuse(request).has_value());
  request.body = "token=" + token["token"].get<std::string>();
  const std::string cookie = HeaderOf(site.Handle(request), "Set-Cookie");
  CHECK(get("/", cookie).status == 200);
  CHECK(get("/v1/runs", cookie).status == 200);
}

TEST_CASE("sessions end by themselves, and the one that would end first makes room") {
  Sessions sessions;
  const std::string first = sessions.Begin("t-1", 1000);
  CHECK(sessions.TokenOf(first, 1000 + kSessionMillis - 1) == "t-1");
  CHECK(sessions.TokenOf(first, 1000 + kSessionMillis).empty());
  CHECK(sessions.TokenOf("", 1000).empty());
  for (size_t i = 1; i < kMostSessions; ++i) sessions.Begin("t-2", 2000);
  CHECK(sessions.TokenOf(first, 2000) == "t-1");
  sessions.Begin("t-3", 2000);
  CHECK(sessions.TokenOf(first, 2000).empty());
}

TEST_CASE("an address says which methods it takes, before a body is taken") {
  Lorryd lorryd;
  // method | path | status | Allow
  const std::tuple<std::string, std::string, int, std::string> cases[] = {
      {"DELETE", "/", 405, "GET, HEAD"},
      {"PUT", "/v1/runs", 405, "GET, HEAD"},
      {"DELETE", "/healthz", 405, "GET, HEAD"},
      {"DELETE", "/api/models", 405, "GET, HEAD"},
      {"PUT", "/api/models/acme/a", 405, "GET, HEAD"},
      {"POST", "/api/models/acme/a", 405, "GET, HEAD"},
      {"DELETE", "/acme/a/resolve/main/config.json", 405, "GET, HEAD"},
      {"DELETE", "/api/models/acme/a/paths-info/main", 405, "POST"},
      {"GET", "/api/models/acme/a/paths-info/main", 405, "POST"},
      {"PUT", "/sign-in", 405, "GET, HEAD, POST"},
      {"POST", "/v1/batches", 501, ""},
  };
  for (const auto& [method, path, status, allow] : cases) {
    INFO(method << " " << path);
    const HttpRequest request = Lorryd::Request(method, path);
    const HttpResponse answer = lorryd.site_->Handle(request);
    CHECK(answer.status == status);
    CHECK(HeaderOf(answer, "Allow") == allow);
    if (method == "DELETE" && path != "/healthz") CHECK(lorryd.site_->Refuse(request)->status == status);
  }
}

TEST_CASE("the registry's page says where it is, by the address that it was asked at") {
  Lorryd lorryd;
  lorryd.Import("acme/open", false);
  CHECK(lorryd.Get("/registry/acme/open").body.find("HF_ENDPOINT=http://127.0.0.1:8600 ") != std::string::npos);
}

TEST_CASE("a job that could be given a kind of device without a price is refused before it runs") {
  Lorryd lorryd;
  const json cpu = {{"device", "cpu"}, {"usd_per_hour", 0.05}, {"from", "2026-01-01"}};
  const json h100 = {{"device", "H100-PCIe"}, {"usd_per_hour", 1.99}, {"from", "2026-01-01"}};
  const json h100_80 = {{"device", "H100-80GB-HBM3"}, {"usd_per_hour", 2.99}, {"from", "2026-01-01"}};
  const auto plan = [&](const json& resources) {
    const json job = {{"kind", "command"}, {"name", "n"}, {"project", "docs"}, {"argv", {"/bin/true"}}, {"resources", resources}};
    return lorryd.daemon_->scheduler().Call<wire::JsonReply>(wire::Plan{job.dump(), {}});
  };
  HandWorker worker(lorryd.home_.path(), lorryd.daemon_->scheduler().worker_endpoint());
  worker.HelloWith({{DeviceId("n1/cpu-0"), "cpu", false, 0, "", ""},
                    {DeviceId("gpu-0"), "H100-PCIe", true, 80, "", ""},
                    {DeviceId("gpu-1"), "H100-80GB-HBM3", true, 80, "", ""}});
  // resources | prices that are added first | the kind that has none, or '' and what an hour costs
  const std::tuple<json, json, std::string, std::string> cases[] = {
      {{{"gpus", 1}}, json::array({cpu}), "H100-80GB-HBM3", ""},
      {{{"gpus", 1}}, json::array({h100_80}), "H100-PCIe", ""},
      {{{"gpus", "H100:1"}}, json::array({cpu}), "H100-PCIe", ""},
      {{{"gpus", "H100-80GB:1"}}, json::array({cpu}), "", "2.99"},
      {{{"cpus", 1}}, json::array({cpu}), "", "0.05"},
      {{{"gpus", 1}}, json::array({h100}), "", "2.99"},
  };
  int key = 0;
  for (const auto& [resources, prices, missing, usd] : cases) {
    CAPTURE(resources.dump(), prices.dump());
    lorryd.Query("price.record", {{"text", json{{"prices", prices}}.dump()}}, "p" + std::to_string(++key));
    const auto quote = plan(resources);
    CHECK(quote.ok() == missing.empty());
    if (!quote.ok()) {
      CHECK(quote.error().code == ErrorCode::kSpec);
      CHECK(quote.error().message == "no price for device kind \"" + missing + "\"");
      CHECK(quote.error().hint.find("prices.yaml") != std::string::npos);
    } else {
      CHECK(json::parse(quote->json)["usd_per_hour"] == usd);
    }
  }
}

TEST_CASE("a run that costs as much as its job allows is told both amounts") {
  Lorryd lorryd;
  auto store = Store::OpenReadOnly(lorryd.home_.path() + "/state.db");
  REQUIRE(store.ok());
  auto reader = (*store)->Read();
  REQUIRE(reader.ok());
  Run run;
  run.spec.id = RunId("r-1");
  run.spec.job_json = R"({"limits":{"max_cost_usd":"0.00001"}})";
  const auto books = MakeBooksPort();
  const auto reached = [&](Millis held) {  // at $0.05 an hour
    const Instant t0 = *ParseUtc("2026-02-01T00:00:00Z");
    return *books->LimitReached(reader->db(), run, {{DeviceId("n1/cpu-0"), "cpu", UsageClass::kProductive, t0, t0 + held}});
  };
  CHECK_FALSE(reached(Millis(719)).has_value());
  REQUIRE(reached(Millis(720)).has_value());
  CHECK(reached(Millis(2664))->Format() ==
        "limits.max_cost_usd: $0.000010000 was reached: the run's device time had cost $0.000037000; submit the job again with a "
        "higher one");
}

TEST_CASE("a question of another shape is refused") {
  Lorryd lorryd;
  for (const auto& [name, question] : std::vector<std::pair<std::string, std::string>>{{"token.create", R"({"role":7})"},
                                                                                       {"token.create", R"({"role":"admin"})"},
                                                                                       {"token.create", "[]"},
                                                                                       {"token.revoke", R"({"id":[]})"},
                                                                                       {"cost.report", "7"},
                                                                                       {"price.record", R"({"text":1})"}}) {
    INFO(name << " " << question);
    auto answer = lorryd.daemon_->scheduler().Call<wire::JsonReply>(wire::Query{name, question, ""});
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code == ErrorCode::kUsage);
  }
  CHECK(lorryd.Get("/healthz").status == 200);
}

TEST_CASE("a fine-tuning job whose output could not be published is refused before it starts") {
  Lorryd lorryd;
  Scheduler& scheduler = lorryd.daemon_->scheduler();
  TempDirectory files;
  REQUIRE(WriteFileAtomically(files.path() + "/a", "{}").ok());
  const Digest digest = Sha256Of("{}");
  REQUIRE(scheduler.Call<wire::BlobStored>(wire::PutBlob{digest, 2, 0, "{}"}).ok());
  // adapter | alias | file of the base | key that is named
  const std::tuple<std::string, json, std::string, std::string> cases[] = {
      {"acme/my-", json(), "config.json", "output.adapter"},
      {"acme/x.", json(), "config.json", "output.adapter"},
      {"acme/x", "HEAD", "config.json", "output.alias"},
      {"acme/x", std::string(40, 'a'), "config.json", "output.alias"},
      {"acme/x", json(), "pytorch_model.bin", "base_model"},
      {"acme/x", json(), ".gitattributes", "base_model"},
      {"library/" + std::string(96, 'm'), json(), "config.json", "base_model"},
      {"acme/x", json(), "config.json", ""},
  };
  int number = 0;
  for (const auto& [adapter, alias, file, key] : cases) {
    INFO(adapter << " " << alias << " " << file);
    json job = {{"kind", "finetune"},
                {"name", "tune"},
                {"project", "docs"},
                {"base_model", "/models/" + std::string(120, 'm')},
                {"dataset", {{"path", "/data/train.jsonl"}}},
                {"training", {{"max_steps", 1}}},
                {"output", {{"adapter", adapter}}},
                {"resources", {{"cpus", 1}}}};
    if (!alias.is_null()) job["output"]["alias"] = alias;
    const std::vector<wire::Input> inputs = {{"base_model", true, {{file, digest, 2}}},
                                             {"train", false, {{"train.jsonl", digest, 2}}}};
    auto made = scheduler.Call<wire::Submitted>(wire::Submit{SubmissionId("f-" + std::to_string(++number)), job.dump(), inputs});
    CAPTURE(made.ok() ? "" : made.error().Format());
    CHECK(made.ok() == key.empty());
    if (!made.ok()) CHECK(made.error().Format().find(key) != std::string::npos);
  }
}

TEST_CASE("what a run that has not ended needs of the registry is neither taken away nor taken by another kind") {
  Lorryd lorryd;
  const TempDirectory other_home;
  RegistryFixture files(other_home.path());
  const auto push = [&](const std::string& name, const std::vector<BlobEntry>& entries) {
    json question = {{"kind", "model"}, {"name", name}, {"files", json::array()}};
    for (const BlobEntry& file : entries) {
      const std::string bytes = *files.blobs().ReadBytes(file.digest, 1 << 20);
      REQUIRE(lorryd.daemon_->scheduler().Call<wire::BlobStored>(wire::PutBlob{file.digest, file.size, 0, bytes}).ok());
      question["files"].push_back({{"path", file.path}, {"digest", file.digest.hex()}, {"size", file.size}});
    }
    return lorryd.TryQuery("registry.import", question);
  };
  REQUIRE(push("acme/base", files.ModelFiles(1)).ok());
  const BlobEntry train = files.File("train.jsonl", "{}");
  REQUIRE(lorryd.daemon_->scheduler().Call<wire::BlobStored>(wire::PutBlob{train.digest, train.size, 0, "{}"}).ok());
  const json job = {{"kind", "finetune"},
                    {"name", "tune"},
                    {"project", "docs"},
                    {"base_model", "acme/base"},
                    {"dataset", {{"path", "/data/train.jsonl"}}},
                    {"training", {{"max_steps", 1}}},
                    {"output", {{"adapter", "acme/tuned"}}},
                    {"resources", {{"cpus", 1}}}};
  const std::vector<wire::Input> inputs = {{"train", false, {{"train.jsonl", train.digest, train.size}}}};
  const auto made = lorryd.daemon_->scheduler().Call<wire::Submitted>(wire::Submit{SubmissionId("s-1"), job.dump(), inputs});
  if (!made.ok()) FAIL(made.error().Format());
  const auto lock = ReadFile(lorryd.home_.path() + "/runs/" + made->run.str() + "/job.lock.yaml");
  REQUIRE(lock.ok());
  CHECK(lock->find("\nbase_model: acme/base@v1\n") != std::string::npos);
  CHECK(lock->find("\n  train: \"" + train.digest.hex() + "\"\n") != std::string::npos);
  const auto removed = [&] { return lorryd.TryQuery("registry.remove", {{"kind", "model"}, {"reference", "acme/base@v1"}}); };
  CHECK(removed().error().Format().find("is the model of run " + made->run.str()) != std::string::npos);
  CHECK(push("Acme/Tuned", files.ModelFiles(2)).error().code == ErrorCode::kConflict);
  REQUIRE(lorryd.daemon_->scheduler().Call<wire::RunStands>(wire::CancelRun{made->run, true, ""}).ok());
  CHECK(removed().ok());
  CHECK(push("acme/tuned", files.ModelFiles(2)).ok());
}

TEST_CASE("estimates of like runs know how right they were") {
  Lorryd lorryd;
  Scheduler& scheduler = lorryd.daemon_->scheduler();
  HandWorker worker(lorryd.home_.path(), scheduler.worker_endpoint());
  worker.Hello(1);
  for (const int64_t took_ms : {500, 3000}) {
    const std::string run = lorryd.Submit("echo-" + std::to_string(took_ms), "echo");
    const json wish = {{"run", run}, {"device_kind", "cpu"}, {"devices", 1}, {"wall_ms", 1000}};
    REQUIRE(lorryd.TryQuery("estimate.record", wish).ok());
    const auto grant = worker.Expect<wire::Grant>();
    const Instant t0(1'800'000'000'000);
    const wire::Span span{grant.devices[0], "cpu", UsageClass::kProductive, t0, t0 + Millis(took_ms)};
    REQUIRE(worker.Ask<wire::FinishedAck>(wire::Finished{grant.attempt, EndReason::kDone, {}, {}, 0, {span}, ""}).accepted);
  }
  json like = {{"kind", "command"}, {"name", "echo"}, {"project", "docs"}, {"model", ""}, {"device_kind", "cpu"}};
  CHECK(lorryd.Query("estimate.like", like, "")["actual_over_expected"] == json{3.0, 0.5});
  like["name"] = "other";
  CHECK(lorryd.Query("estimate.like", like, "")["actual_over_expected"].empty());
}

TEST_CASE("the Hugging Face face answers a stranger's miss in that client's words") {
  Lorryd lorryd;
  const HttpResponse miss = lorryd.Get("/api/models/acme/none");
  CHECK(miss.status == 404);
  bool said = false;
  for (const auto& [name, value] : miss.headers) said = said || (name == "X-Error-Code" && value == "RepoNotFound");
  CHECK(said);
}

TEST_CASE("the home's policy.yaml is read, and one with a fault ends the start") {
  for (const auto& [text, starts] : {std::pair{"unknown_gpu: wait\n", true}, std::pair{"quotas: {docs: 5}\n", false}}) {
    CAPTURE(text);
    TempDirectory home;
    REQUIRE(WriteFileAtomically(home.path() + "/policy.yaml", text).ok());
    DaemonOptions options;
    options.home = home.path();
    options.http_port = options.client_port = options.worker_port = 0;
    const auto daemon = Daemon::Start(options);
    CHECK(daemon.ok() == starts);
    if (!daemon.ok()) CHECK(daemon.error().Format().find("quotas: not in this version") != std::string::npos);
  }
}

TEST_CASE("a new home has the default prices, and one whose file was taken away keeps what is on the books") {
  TempDirectory home;
  DaemonOptions options;
  options.home = home.path();
  options.http_port = options.client_port = options.worker_port = 0;
  const auto start = [&] {
    auto daemon = Daemon::Start(options);
    if (!daemon.ok()) FAIL(daemon.error().Format());
    auto answer = (*daemon)->scheduler().Call<wire::JsonReply>(wire::Query{"price.history", "{}", ""});
    REQUIRE(answer.ok());
    return json::parse(answer->json)["prices"];
  };
  const json prices = start();
  CHECK(prices.at(0)["device"] == "cpu");
  REQUIRE(RemoveTree(home.path() + "/prices.yaml").ok());
  CHECK(start() == prices);
  CHECK_FALSE(FileExists(home.path() + "/prices.yaml"));
}

TEST_CASE("beyond loopback lorryd asks for TLS and a token") {
  TempDirectory home;
  DaemonOptions options;
  options.home = home.path();
  options.http_port = options.client_port = options.worker_port = 0;
  options.bind_address = "0.0.0.0";
  auto daemon = Daemon::Start(options);
  REQUIRE_FALSE(daemon.ok());
  CHECK(daemon.error().code == ErrorCode::kNotAllowed);
}

}  // namespace
}  // namespace lorry
