#include "cli/home_state.h"

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/process.h"

namespace lorry {
namespace {

std::string StatePath(const std::string& home) { return home + "/up.json"; }

}  // namespace

nlohmann::json HomeAddresses::ToJson() const { return {{"http", http}, {"client", client}, {"worker", worker}, {"home", home}}; }

std::string HostOf(const ClusterConfig& cluster) { return cluster.bind == "0.0.0.0" ? "127.0.0.1" : cluster.bind; }

HomeAddresses AddressesOf(const ClusterConfig& cluster, const std::string& home) {
  const std::string host = HostOf(cluster);
  HomeAddresses addresses;
  addresses.http = fmt::format("{}://{}:{}", cluster.tls ? "https" : "http", host, cluster.http_port);
  addresses.client = fmt::format("tcp://{}:{}", host, cluster.client_port);
  addresses.worker = fmt::format("tcp://{}:{}", host, cluster.worker_port);
  addresses.home = home;
  return addresses;
}

std::optional<HomeAddresses> ReadHomeAddresses(const std::string& home) {
  const Result<std::string> text = ReadFile(StatePath(home), 1 << 16);
  if (!text.ok()) return std::nullopt;
  const Result<nlohmann::json> json = ParseJson(*text);
  if (!json.ok() || !json->is_object()) return std::nullopt;
  HomeAddresses addresses;
  addresses.http = json->value("http", "");
  addresses.client = json->value("client", "");
  addresses.worker = json->value("worker", "");
  addresses.home = home;
  addresses.pid = json->value("pid", 0);
  addresses.start_ticks = json->value("start_ticks", uint64_t{0});
  if (addresses.client.empty() || ProcessStartTicks(addresses.pid) != addresses.start_ticks) return std::nullopt;
  return addresses;
}

Status WriteHomeAddresses(const HomeAddresses& addresses) {
  nlohmann::json json = addresses.ToJson();
  json["pid"] = addresses.pid;
  json["start_ticks"] = addresses.start_ticks;
  return WriteFileAtomically(StatePath(addresses.home), json.dump() + "\n");
}

void RemoveHomeAddresses(const std::string& home) { unlink(StatePath(home).c_str()); }

}  // namespace lorry
