#include "cli/session.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/random_key.h"
#include "cli/home_state.h"

namespace lorry {

Result<SchedulerClient*> Session::Scheduler() {
  if (client_) return &*client_;
  std::string address = options_.address;
  if (address.empty()) {
    const std::optional<HomeAddresses> running = ReadHomeAddresses(home());
    if (!running) {
      // A home that may not be read is another matter than one where nobody is up.
      if (FileExists(home()) && access(home().c_str(), R_OK | X_OK) != 0) return ErrnoError("cannot open", home());
      return MakeError(ErrorCode::kUnreachable, "no scheduler runs in " + home(),
                       "start one with `lorry up`, or name one with --address tcp://HOST:8601");
    }
    address = running->client;
  }
  LORRY_ASSIGN_OR_RETURN(SchedulerClientOptions options, SchedulerClientOptions::ForHome(home(), address));
  LORRY_ASSIGN_OR_RETURN(SchedulerClient client, SchedulerClient::Connect(std::move(options)));
  client_.emplace(std::move(client));
  return &*client_;
}

Result<nlohmann::json> Session::Ask(const std::string& name, const nlohmann::json& question, bool changes) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, Scheduler());
  LORRY_ASSIGN_OR_RETURN(const std::string answer, scheduler->Query(name, question.dump(), changes ? RandomKey() : ""));
  return ParseJson(answer);
}

}  // namespace lorry
