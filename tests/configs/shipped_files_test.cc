// Every YAML file that configs/ ships is read, and its jobs use only what this version carries out.
#include <catch2/catch.hpp>

#include <set>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "configs/cluster_config.h"
#include "configs/job_file.h"
#include "configs/price_list.h"

namespace lorry {
namespace {

TEST_CASE("the shipped jobs are whole", "[shipped]") {
  for (const char* name : {"finetune", "batch", "command", "sweep"}) {
    CAPTURE(name);
    const ParsedJob job = LoadJob(std::string("configs/") + name + ".yaml", {});
    CHECK(FormatErrors(job.errors) == "");
    REQUIRE(job.spec.has_value());
    CHECK(job.spec->kind() == (std::string_view(name) == "sweep" ? "finetune" : name));
  }
}

TEST_CASE("the shipped prices, cluster and policy are whole", "[shipped]") {
  const auto prices = LoadPriceList("configs/prices.yaml");
  REQUIRE(prices.ok());
  std::set<std::string> kinds;
  for (const ListedPrice& price : *prices) kinds.insert(price.device_kind);
  CHECK(kinds.count("cpu") == 1);
  CHECK(kinds.size() > 1);
  CHECK(LoadClusterConfig("configs/cluster.yaml").ok());
  CHECK(LoadPolicyConfig("configs/policy.yaml").ok());
}

TEST_CASE("no shipped YAML file is forgotten here", "[shipped]") {
  const std::set<std::string> tested = {"batch.yaml",  "cluster.yaml", "command.yaml", "finetune.yaml",
                                        "policy.yaml", "prices.yaml",  "sweep.yaml"};
  const auto names = ListDirectory("configs");
  REQUIRE(names.ok());
  std::set<std::string> found;
  for (const std::string& name : *names) {
    if (name.ends_with(".yaml")) found.insert(name);
  }
  CHECK(found == tested);
}

TEST_CASE("a job survives JSON with the same bytes", "[shipped]") {
  for (const char* name : {"finetune", "batch", "command", "sweep"}) {
    CAPTURE(name);
    const ParsedJob job = LoadJob(std::string("configs/") + name + ".yaml", {});
    REQUIRE(job.spec.has_value());
    const std::string json = CanonicalJson(ToJson(*job.spec));
    const auto again = JobFromJson(nlohmann::json::parse(json));
    if (!again.ok()) FAIL(again.error().Format());
    CHECK(CanonicalJson(ToJson(*again)) == json);
  }
}

}  // namespace
}  // namespace lorry
