// cluster.yaml and policy.yaml, as far as this version uses them.
//
// cluster.yaml: where the daemons listen and which devices a worker offers.
//   {http_port: 8600, client_port: 8601, worker_port: 8602, bind: 127.0.0.1, devices: "cpu:2", tls: {cert: F, key: F}}
// policy.yaml: what an unknown GPU kind means.
//   {unknown_gpu: refuse}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

struct TlsFiles {
  std::string cert;  // absolute paths
  std::string key;
};

struct ClusterConfig {
  int64_t http_port = 8600;
  int64_t client_port = 8601;
  int64_t worker_port = 8602;
  std::string bind = "127.0.0.1";
  std::string devices;  // "cpu:2", "gpu:all"; empty: what the machine has
  std::optional<TlsFiles> tls;
};

struct PolicyConfig {
  bool wait_for_unknown_gpu = false;  // unknown_gpu: refuse | wait
};

// Errors: kSpec, all joined line by line.
Result<ClusterConfig> ParseClusterConfig(std::string_view text, const std::string& file);
Result<ClusterConfig> LoadClusterConfig(const std::string& path);
Result<PolicyConfig> ParsePolicyConfig(std::string_view text, const std::string& file);
Result<PolicyConfig> LoadPolicyConfig(const std::string& path);

}  // namespace lorry
