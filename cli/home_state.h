// What `lorry up` leaves in a home for those who come after it: HOME/up.json, the addresses and the process that watches.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "configs/cluster_config.h"

namespace lorry {

struct HomeAddresses {
  std::string http;    // "http://127.0.0.1:8600"
  std::string client;  // "tcp://127.0.0.1:8601"
  std::string worker;  // "tcp://127.0.0.1:8602"
  std::string home;
  pid_t pid = 0;             // of the watching process
  uint64_t start_ticks = 0;  // with the pid it names the process for good

  nlohmann::json ToJson() const;  // {http, client, worker, home}
};

// Where a home's daemons answer on this machine. A bind of 0.0.0.0 takes loopback too; any other address takes itself alone.
HomeAddresses AddressesOf(const ClusterConfig& cluster, const std::string& home);
// 127.0.0.1 for a bind of 0.0.0.0, else the bind.
std::string HostOf(const ClusterConfig& cluster);

// nullopt where nothing was written, or what was written belongs to a process that is gone.
std::optional<HomeAddresses> ReadHomeAddresses(const std::string& home);
Status WriteHomeAddresses(const HomeAddresses& addresses);
void RemoveHomeAddresses(const std::string& home);

}  // namespace lorry
