// The commands of `lorry` in groups: each function hangs its own on the parser. Only these files know CLI11.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

struct CommandSet {
  CLI::App& app;
  std::function<Result<int>(Session&)> chosen;  // of the command that was named; set while parsing
};

// A command with its one line of help and an example. `run` is called with the parsed options.
CLI::App& AddCommand(CommandSet& set, CLI::App& parent, const std::string& name, const std::string& about,
                     const std::string& example, std::function<Result<int>(Session&)> run = {});

void AddSystemCommands(CommandSet& set);    // up, down, doctor, worker, token
void AddJobCommands(CommandSet& set);       // plan, submit, ps, show, logs, watch, explain, cancel, pause, resume, pull
void AddRegistryCommands(CommandSet& set);  // model, adapter
void AddModelCommands(CommandSet& set);     // score, tokenize, generate, eval, merge, export
void AddBookCommands(CommandSet& set);      // cost, price, ledger
// Commands of later versions: known, and refused by name. Call last.
void AddUnbuiltCommands(CommandSet& set);

}  // namespace lorry
