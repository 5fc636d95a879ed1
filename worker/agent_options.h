// What lorry-worker is started with.
#pragma once

#include <map>
#include <string>

#include "base/ids.h"
#include "base/units.h"

namespace lorry {

struct AgentOptions {
  std::string home;               // absolute
  WorkerId worker;                // unique among the scheduler's workers; the host's name where nobody says otherwise
  std::string address;            // "tcp://HOST:8602"
  std::string server_public_key;  // Z85; empty: HOME/keys/scheduler.public
  std::string devices;            // "cpu:2", "gpu:all", "" (device_request in devices.h)
  std::string nvml_library = "libnvidia-ml.so.1";
  std::map<std::string, std::string> programs;  // job kind -> path; empty: lorry-train and lorry-batch beside this program
  Millis stop_grace{20'000};                    // how long ranks may take for a checkpoint when the worker itself is asked to end
};

}  // namespace lorry
