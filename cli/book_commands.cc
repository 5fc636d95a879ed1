#include <memory>

#include "cli/command_groups.h"
#include "cli/costs.h"

namespace lorry {
namespace {

void AddCost(CommandSet& set) {
  auto options = std::make_shared<CostOptions>();
  auto compare = std::make_shared<std::string>(), scenario = std::make_shared<std::string>();
  CLI::App& cost =
      AddCommand(set, set.app, "cost", "what runs cost", "lorry cost --by project --from 2026-11-01 --to 2026-12-01 --format csv",
                 [options, compare, scenario](Session& session) -> Result<int> {
                   if (!compare->empty()) return MakeError(ErrorCode::kUnsupported, "--compare-api: not in this version");
                   if (!scenario->empty()) return MakeError(ErrorCode::kUnsupported, "--scenario: not in this version");
                   return RunCost(session, *options);
                 });
  cost.add_option("run", options->run, "only this run");
  cost.add_option("--by", options->by, "run (default), attempt, team, project, model, device, kind, class or month");
  cost.add_option("--from", options->from, "UTC, inclusive");
  cost.add_option("--to", options->to, "UTC, exclusive");
  cost.add_option("--format", options->format, "table (default), csv or json");
  cost.add_option("--compare-api", *compare)->group("");
  cost.add_option("--scenario", *scenario)->group("");
}

}  // namespace

void AddBookCommands(CommandSet& set) {
  AddCost(set);
  CLI::App& price = AddCommand(set, set.app, "price", "what an hour of each device costs", "lorry price list");
  AddCommand(set, price, "list", "prices that hold now", "lorry price list",
             [](Session& session) { return RunPrices(session, false); });
  AddCommand(set, price, "history", "every price that was ever on the books", "lorry price history",
             [](Session& session) { return RunPrices(session, true); });
  CLI::App& ledger = AddCommand(set, set.app, "ledger", "the books themselves", "lorry ledger verify");
  AddCommand(set, ledger, "verify", "computes every hash, price and sum again; needs no scheduler",
             "lorry ledger verify --home /srv/lorry", [](Session& session) { return RunLedgerVerify(session); });
  auto options = std::make_shared<ReplayOptions>();
  CLI::App& replay = AddCommand(set, ledger, "replay", "books made of given usage and prices",
                                "lorry ledger replay usage.json --prices prices.yaml --by class",
                                [options](Session& session) { return RunLedgerReplay(session, *options); });
  replay.add_option("usage", options->usage, "JSON of recorded usage, as lorry cost --by attempt --json prints it")->required();
  replay.add_option("--prices", options->prices, "a prices.yaml")->required();
  replay.add_option("--by", options->by, "as lorry cost");
  replay.add_option("--format", options->format, "table (default), csv or json");
}

}  // namespace lorry
