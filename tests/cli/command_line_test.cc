// Exit statuses and refusals that need no scheduler.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/files.h"
#include "base/transport/keys.h"
#include "cli/home_state.h"
#include "cli/terminal.h"
#include "tests/cli/lorry_call.h"

namespace lorry {
namespace {

struct Refusal {
  std::vector<std::string> words;
  int status;
  const char* says;  // begins standard error
};

TEST_CASE("what is refused without a scheduler", "[cli]") {
  const TempDirectory home;
  const Refusal refusals[] = {
      {{"pland"}, 2, "pland: unknown command; did you mean \"plan\"?"},
      {{"frobnicate"}, 2, "frobnicate: unknown command; lorry --help lists them"},
      {{"plan"}, 2, "job is required; add --help"},
      {{"plan", "/no/such/job.yaml"}, 2, "cannot open /no/such/job.yaml: "},
      {{"merge", "a/b", "--to", "c"}, 3, "no scheduler runs in "},
      {{"merge", "a/b", "--to", "api/b"}, 2, "\"api/b\" is reserved"},
      {{"merge", "a/b", "--to", "c", "--dtype", "int8"}, 2, "--dtype: int8 is unknown"},
      {{"export", "a/b", "--format", "onnx", "--to", "/tmp/x"}, 2, "--format: onnx not in "},
      {{"export", "a/b", "--format", "peft", "--type", "q8_0", "--to", "/tmp/x"}, 2, "--type is for --format gguf"},
      {{"export", "a/b", "--format", "gguf", "--to", "configs"}, 1, ""},
      {{"export", "./no-such-model", "--format", "gguf", "--to", "/tmp/lorry-no-such-export"}, 5, ""},
      {{"export", "configs", "--format", "gguf", "--to", "/tmp/lorry-no-such-export"}, 5, ""},
      {{"export", "tests/golden/decoder/gqa_tied/adapter", "--format", "gguf", "--to", "/tmp/lorry-no-such-export"}, 2, ""},
      {{"export", "tests/golden/decoder/gqa_tied", "--format", "peft", "--to", "/tmp/lorry-no-such-export"},
       2,
       "tests/golden/decoder/gqa_tied is a model"},
      {{"eval", "bleu", "--reference", "x"}, 2, "lorry eval bleu: not in this version"},
      {{"price", "set", "H100", "2.5"}, 2, "lorry price set: not in this version"},
      {{"worker", "drain", "w1"}, 3, "no scheduler runs in "},
      {{"cost", "--format", "focus"}, 2, "--format focus: not in this version"},
      {{"cost", "--by", "moon"}, 2, "costs are not grouped by \"moon\""},
      {{"cost", "--from", "2026-11-02T00:30:00Z"}, 2, "2026-11-02T00:30:00.000Z is not a full UTC hour"},
      {{"token", "create", "--role", "king"}, 2, "--role: king not in "},
      {{"token", "create", "--role", "engineer"}, 2, "--role engineer: not in this version"},
      {{"cost", "--compare-api", "gpt-3.5-turbo-0613"}, 2, "--compare-api: not in this version"},
      {{"cost", "--scenario", "what-if.yaml"}, 2, "--scenario: not in this version"},
      {{"generate", "--model", "m", "--prompt", "p", "--max-tokens", "0"}, 2, "--max-tokens: Value 0 not in range 1 to 1048576"},
      {{"logs", "r-1", "--rank", "-1"}, 2, "--rank: Value -1 not in range 0 to 65535"},
      {{"ps"}, 3, "no scheduler runs in "},
      {{"submit", "configs/command.yaml"}, 3, "no scheduler runs in "},
      {{"tokenize", "--model", "./no-such-model"}, 5, ""},
      {{"ledger", "verify"}, 5, ""},
      {{"model", "import", "/no/such/model", "--name", "a/b"}, 5, "/no/such/model does not exist"},
      {{"model", "import", "configs", "--name", "api/b"}, 2, "\"api/b\" is reserved"},
  };
  for (const Refusal& refusal : refusals) {
    CAPTURE(refusal.words);
    const Outcome outcome = Lorry(refusal.words, home.path() + "/home");
    CHECK(outcome.status == refusal.status);
    CHECK(outcome.err.substr(0, std::string(refusal.says).size()) == refusal.says);
    CHECK(outcome.out.empty());
  }
}

TEST_CASE("a job's rows come from a file, not from a device, a pipe or a folder", "[cli]") {
  const TempDirectory home;
  const std::string pipe = home.path() + "/pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  const auto refused = [&](const std::string& job, const std::string& path, const std::string& key) {
    const Outcome outcome = Lorry({"plan", "configs/" + job, "--set", key + "=" + path}, home.path() + "/home");
    CHECK(outcome.status == 2);
    return outcome.err;
  };
  for (const auto& [job, key] :
       {std::pair{"finetune.yaml", "dataset.path"}, {"finetune.yaml", "dataset.validation"}, {"batch.yaml", "input"}}) {
    CAPTURE(job, key);
    CHECK(refused(job, "/dev/zero", key).find(fmt::format("{}: /dev/zero is a device", key)) != std::string::npos);
    CHECK(refused(job, pipe, key).find(fmt::format("{}: {} is a pipe", key, pipe)) != std::string::npos);
    CHECK(refused(job, home.path(), key).find("a folder; a file is expected") != std::string::npos);
  }
}

TEST_CASE("help, version and features are told", "[cli]") {
  const TempDirectory home;
  CHECK(Lorry({"--version"}, home.path()).out.starts_with("lorry "));
  CHECK(Lorry({"submit", "--help"}, home.path()).out.find("Example: lorry submit job.yaml") != std::string::npos);
  const Outcome features = Lorry({"doctor", "--features", "--json"}, home.path());
  CHECK(features.status == 0);
  for (const char* name :
       {"kind pipeline", "option cost --compare-api", "option cost --format focus", "option cost --scenario",
        "option token create --role engineer", "policy.yaml budgets", "policy.yaml quotas", "policy.yaml roles"}) {
    CAPTURE(name);
    CHECK(features.out.find(fmt::format(R"({{"built":false,"name":"{}"}})", name)) != std::string::npos);
  }
}

TEST_CASE("an error with --json is one document with stable keys", "[cli]") {
  const TempDirectory home;
  const Outcome outcome = Lorry({"plan", "/no/such/job.yaml", "--json"}, home.path());
  CHECK(outcome.status == 2);
  for (const char* key : {"\"code\":", "\"message\":", "\"hint\":", "\"file\":", "\"line\":", "\"key\":"}) {
    CHECK(outcome.out.find(key) != std::string::npos);
  }
}

TEST_CASE("plan needs no scheduler and writes nothing", "[cli]") {
  const TempDirectory home;
  const Outcome plan = Lorry({"plan", "configs/command.yaml", "--set", "array=100", "--json"}, home.path() + "/home");
  CHECK(plan.status == 0);
  CHECK(plan.out.find("\"elements\":100") != std::string::npos);
  CHECK_FALSE(FileExists(home.path() + "/home"));
}

TEST_CASE("plan and submit take a model as a directory or by its name in the registry, never as one file", "[cli]") {
  const TempDirectory home;
  REQUIRE(WriteFileAtomically(home.path() + "/m.gguf", "GGUF").ok());
  const Outcome plan =
      Lorry({"plan", "configs/batch.yaml", "--set", "model=" + home.path() + "/m.gguf", "--set", "output=" + home.path()},
            home.path() + "/home");
  CHECK(plan.status == 2);
  CHECK(plan.err.find("model: " + home.path() + "/m.gguf is a file; a model directory or a registry name is expected") !=
        std::string::npos);
  CHECK(plan.err.find("lorry model import " + home.path() + "/m.gguf --name ORG/NAME") != std::string::npos);
}

TEST_CASE("a scheduler that does not answer leaves plan with what this machine knows", "[cli]") {
  const TempDirectory home;
  REQUIRE(MakeHomeKeys(home.path()).ok());
  const Outcome plan = Lorry({"plan", "configs/command.yaml", "--address", "tcp://127.0.0.1:1", "--json"}, home.path());
  CHECK(plan.status == 0);
  CHECK(plan.out.find("no scheduler answers") != std::string::npos);
}

TEST_CASE("an argument that is not UTF-8 is a usage error", "[cli]") {
  const TempDirectory home;
  REQUIRE(MakeHomeKeys(home.path()).ok());
  const Outcome cost = Lorry({"cost", "r-\xFF", "--address", "tcp://127.0.0.1:1"}, home.path());
  CHECK(cost.status == 2);
  CHECK(cost.err.find("is not UTF-8 text") != std::string::npos);
}

TEST_CASE("addresses of a process that is gone are not told", "[cli]") {
  const TempDirectory home;
  HomeAddresses addresses;
  addresses.client = "tcp://127.0.0.1:8601";
  addresses.home = home.path();
  addresses.pid = getpid();
  addresses.start_ticks = 1;  // another process had this pid
  REQUIRE(WriteHomeAddresses(addresses).ok());
  CHECK_FALSE(ReadHomeAddresses(home.path()).has_value());
  CHECK(Lorry({"down"}, home.path()).status == 0);
}

TEST_CASE("daemons are asked where they listen", "[cli]") {
  struct Row {
    const char* cluster;
    const char* http;
    const char* client;
  };
  const Row rows[] = {
      {"{}", "http://127.0.0.1:8600", "tcp://127.0.0.1:8601"},
      {"bind: 0.0.0.0\nclient_port: 9001\n", "http://127.0.0.1:8600", "tcp://127.0.0.1:9001"},
      {"bind: 10.0.0.5\ntls: {cert: c.pem, key: k.pem}\n", "https://10.0.0.5:8600", "tcp://10.0.0.5:8601"},
  };
  for (const Row& row : rows) {
    const HomeAddresses addresses = AddressesOf(*ParseClusterConfig(row.cluster, "cluster.yaml"), "/h");
    CHECK(addresses.http == row.http);
    CHECK(addresses.client == row.client);
  }
}

TEST_CASE("columns are aligned by what is seen", "[cli]") {
  CHECK(AlignColumns({{"A", "B"}, {"\xC3\xA9\xC3\xA9\xC3\xA9", "x"}}) == "A    B\n\xC3\xA9\xC3\xA9\xC3\xA9  x\n");
}

}  // namespace
}  // namespace lorry
