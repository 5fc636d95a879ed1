#include <memory>

#include "cli/administration.h"
#include "cli/command_groups.h"
#include "cli/up.h"

namespace lorry {
namespace {

void AddUpAndDown(CommandSet& set) {
  auto options = std::make_shared<UpOptions>();
  CLI::App& up =
      AddCommand(set, set.app, "up", "scheduler, worker and pages on this machine, watched", "lorry up --devices cpu:2 --detach",
                 [options](Session& session) { return RunUp(session, *options); });
  up.add_option("--devices", options->devices, "cpu:N, gpu:all, or both with a comma (default: what the machine has)");
  up.add_option("--port", options->port, "of the pages; clients at +1, workers at +2 (default 8600)")
      ->check(CLI::Range(1, 65533));
  up.add_flag("--detach", options->detach, "return once everything answers");
  AddCommand(set, set.app, "down", "ends what lorry up started; what runs is told to stop first, and is queued again",
             "lorry down", [](Session& session) { return RunDown(session); });
}

void AddTokens(CommandSet& set) {
  auto options = std::make_shared<TokenOptions>();
  CLI::App& token =
      AddCommand(set, set.app, "token", "tokens for the pages and the HTTP APIs", "lorry token create --role serving");
  CLI::App& create = AddCommand(set, token, "create", "makes a token and shows it once",
                                "lorry token create --role serving --note 'vLLM in rack 3'",
                                [options](Session& session) { return RunTokenCreate(session, *options); });
  create.add_option("--role", options->role, "what it may do")
      ->required()
      ->check(CLI::IsMember({"admin", "engineer", "finance", "serving", "viewer"}));
  create.add_option("--note", options->note, "whose it is, for the list");
  AddCommand(set, token, "list", "tokens that are valid", "lorry token list",
             [](Session& session) { return RunTokenList(session); });
  CLI::App& revoke = AddCommand(set, token, "revoke", "makes a token invalid at once", "lorry token revoke t-3f2a",
                                [options](Session& session) { return RunTokenRevoke(session, *options); });
  revoke.add_option("id", options->id, "as lorry token list shows it")->required();
}

}  // namespace

void AddSystemCommands(CommandSet& set) {
  AddUpAndDown(set);
  auto doctor_options = std::make_shared<DoctorOptions>();
  CLI::App& doctor =
      AddCommand(set, set.app, "doctor", "what is wrong with this installation or home, and what to do", "lorry doctor --fix",
                 [doctor_options](Session& session) { return RunDoctor(session, *doctor_options); });
  doctor.add_flag("--fix", doctor_options->fix, "mend what can be mended without losing anything");
  doctor.add_flag("--features", doctor_options->features, "what of the commands and keys this version carries out");
  CLI::App& worker = AddCommand(set, set.app, "worker", "machines that carry out runs", "lorry worker list");
  AddCommand(set, worker, "list", "workers and their devices", "lorry worker list",
             [](Session& session) { return RunWorkerList(session); });
  for (const bool drain : {true, false}) {
    auto id = std::make_shared<std::string>();
    const std::string word = drain ? "drain" : "resume";
    AddCommand(set, worker, word,
               drain ? "lets a worker finish what it has and take nothing new" : "lets a drained worker take runs again",
               "lorry worker " + word + " w-node7", [id, drain](Session& session) { return RunWorkerDrain(session, *id, drain); })
        .add_option("worker", *id, "as lorry worker list shows it")
        ->required();
  }
  AddTokens(set);
}

}  // namespace lorry
