#include <catch2/catch.hpp>

#include "configs/cluster_config.h"
#include "configs/price_list.h"

namespace lorry {
namespace {

TEST_CASE("a price list keeps every digit", "[prices]") {
  const auto prices = ParsePriceList(
      "prices:\n"
      "  - {device: H100, usd_per_hour: 2.490000001, from: 2026-01-01, until: 2026-07-01T12:00:00Z, category: spot, source: "
      "contract 17}\n"
      "  - {device: H100, usd_per_hour: 3, from: 2026-07-01T12:00:00Z, category: spot}\n"
      "  - {device: cpu, usd_per_hour: 0.05, from: 2026-01-01}\n",
      "p.yaml");
  REQUIRE(prices.ok());
  REQUIRE(prices->size() == 3);
  CHECK(prices->at(0).usd_per_hour == UnitPrice::FromE9(2'490'000'001));
  CHECK(FormatUtc(*prices->at(0).until) == "2026-07-01T12:00:00.000Z");
  CHECK(prices->at(0).category == "spot");
  CHECK(prices->at(0).line == 2);
  CHECK(prices->at(2).category == "standard");
  CHECK_FALSE(prices->at(2).until.has_value());
}

TEST_CASE("a wrong price list says where", "[prices]") {
  struct Row {
    const char* text;
    const char* says;
  };
  const Row rows[] = {
      {"prices: [{device: cpu, usd_per_hour: 1e-2, from: 2026-01-01}]",
       "p:1:38: prices[0].usd_per_hour: 1e-2 is not an amount of dollars; a decimal number from 0 on, with at most 9 decimals "
       "and no exponent"},
      {"prices: [{device: cpu, usd_per_hour: \"1\", from: 2026-01-01}]",
       "p:1:38: prices[0].usd_per_hour: expected dollars, found text \"1\"; take the quotes away"},
      {"prices: [{device: cpu, usd_per_hour: -1, from: 2026-01-01}]",
       "p:1:38: prices[0].usd_per_hour: -1 is not an amount of dollars; a decimal number from 0 on, with at most 9 decimals and "
       "no exponent"},
      {"prices: [{device: cpu, usd_per_hour: 1.0000000001, from: 2026-01-01}]",
       "p:1:38: prices[0].usd_per_hour: 1.0000000001 is not an amount of dollars; a decimal number from 0 on, with at most 9 "
       "decimals and no exponent"},
      {"prices: [{device: cpu, usd_per_hour: 1, from: tomorrow}]",
       "p:1:47: prices[0].from: \"tomorrow\" is not a UTC date or time, such as 2026-01-31 or 2026-01-31T12:00:00Z"},
      {"prices:\n- {device: cpu, usd_per_hour: 1, from: 2026-01-01, until: 2026-03-01}\n- {device: cpu, usd_per_hour: 2, from: "
       "2026-02-01}\n",
       "p:3:40: prices[1].from: overlaps the price on line 2"},
      {"prices:\n- {device: cpu, usd_per_hour: 1, from: 2026-01-01}\n- {device: cpu, usd_per_hour: 2, from: 2026-01-01}\n",
       "p:3:40: prices[1].from: the price on line 2 begins at the same time"},
      {"prices: {}\n", "p:1:9: prices: expected a list of mappings, found a mapping"},
      {"price: []\n", "p:1:1: prices: missing; this key is required\np:1:1: price: unknown key; did you mean \"prices\"?"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto prices = ParsePriceList(row.text, "p");
    REQUIRE_FALSE(prices.ok());
    CHECK(prices.error().Format() == row.says);
    CHECK(ExitStatusOf(prices.error().code) == 2);
  }
}

TEST_CASE("cluster and policy files", "[cluster]") {
  const auto cluster =
      ParseClusterConfig("http_port: 9600\ndevices: gpu:all\ntls: {cert: c.pem, key: /k.pem}\n", "/etc/lorry/cluster.yaml");
  REQUIRE(cluster.ok());
  CHECK(cluster->http_port == 9600);
  CHECK(cluster->client_port == 8601);
  CHECK(cluster->tls->cert == "/etc/lorry/c.pem");
  CHECK(ParseClusterConfig("http_port: 0\n", "c").error().Format() == "c:1:12: http_port: 0 is outside 1..65535");
  CHECK(ParsePolicyConfig("unknown_gpu: wait\n", "p")->wait_for_unknown_gpu);
  CHECK(ParsePolicyConfig("quotas: []\n", "p").error().Format() == "p:1:1: quotas: not in this version");
}

}  // namespace
}  // namespace lorry
