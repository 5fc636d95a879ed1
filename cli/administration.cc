#include "cli/administration.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/random_key.h"

namespace lorry {
namespace {

std::string TextOf(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

}  // namespace

Result<int> RunWorkerList(Session& session) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("worker.list", nlohmann::json::object()));
  std::vector<std::vector<std::string>> table = {{"WORKER", "STATE", "DEVICE", "KIND", "DEVICE STATE", "RUN"}};
  for (const auto& worker : answer.value("workers", nlohmann::json::array())) {
    for (const auto& device : worker.value("devices", nlohmann::json::array())) {
      table.push_back({TextOf(worker, "worker"), TextOf(worker, "state"), TextOf(device, "device"), TextOf(device, "kind"),
                       TextOf(device, "state"), TextOf(device, "run")});
    }
  }
  session.terminal().Print(table.size() == 1 ? "no workers\n" : AlignColumns(table));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunWorkerDrain(Session& session, const std::string& worker, bool drain) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("worker.drain", {{"worker", worker}, {"drain", drain}}));
  session.terminal().Print(fmt::format("{} {}; {} running there\n", worker, drain ? "takes nothing new" : "takes runs again",
                                       TextOf(answer, "running")));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunTokenCreate(Session& session, const TokenOptions& options) {
  if (options.role == "engineer") {
    return MakeError(ErrorCode::kUnsupported, "--role engineer: not in this version, since tokens have no projects yet",
                     "a viewer reads the jobs of all projects");
  }
  const std::string token = "lorry_" + RandomKey() + RandomKey();
  LORRY_ASSIGN_OR_RETURN(
      nlohmann::json answer,
      session.Ask("token.create", {{"role", options.role}, {"note", options.note}, {"sha256", Sha256Of(token).hex()}},
                  /*changes=*/true));
  answer["token"] = token;
  session.terminal().Print(token + "\n");
  session.terminal().Note(fmt::format("{} for {}; it is shown only now", TextOf(answer, "id"), options.role));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunTokenList(Session& session) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("token.list", nlohmann::json::object()));
  std::vector<std::vector<std::string>> table = {{"ID", "ROLE", "CREATED", "NOTE"}};
  for (const auto& token : answer.value("tokens", nlohmann::json::array())) {
    table.push_back({TextOf(token, "id"), TextOf(token, "role"), TextOf(token, "created"), TextOf(token, "note")});
  }
  const bool open = answer.value("open", false);
  const char* const none = open ? "no token was made yet: loopback needs none\n"
                                : "no valid token: private names are closed until lorry token create makes one\n";
  session.terminal().Print(table.size() == 1 ? none : AlignColumns(table));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunTokenRevoke(Session& session, const TokenOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("token.revoke", {{"id", options.id}}, /*changes=*/true));
  session.terminal().Print(options.id + " revoked\n");
  session.terminal().PrintJson(answer);
  return 0;
}

}  // namespace lorry
