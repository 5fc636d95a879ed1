// One run of the command line: where home and scheduler are, and the connection once it is needed.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/transport/scheduler_client.h"
#include "cli/terminal.h"

namespace lorry {

struct GlobalOptions {
  bool json = false;
  std::string home;     // --home, else $LORRY_HOME, else ~/.lorry; absolute
  std::string address;  // --address, else $LORRY_ADDRESS; empty: the one that `lorry up` wrote into the home
};

class Session {
 public:
  Session(GlobalOptions options, Terminal& terminal) : options_(std::move(options)), terminal_(terminal) {}

  Terminal& terminal() { return terminal_; }
  const std::string& home() const { return options_.home; }
  bool is_remote() const { return !options_.address.empty(); }

  // Connects on first use. Errors: kUnreachable, kNotAllowed, and those of the home's keys.
  Result<SchedulerClient*> Scheduler();

  // A question of docs/formats/queries.md. `changes`: it carries a key of its own, so that a repeat does nothing twice.
  Result<nlohmann::json> Ask(const std::string& name, const nlohmann::json& question, bool changes = false);

 private:
  GlobalOptions options_;
  Terminal& terminal_;
  std::optional<SchedulerClient> client_;
};

}  // namespace lorry
