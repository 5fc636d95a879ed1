#include "cli/command_line.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command_groups.h"
#include "configs/features.h"

namespace lorry {
namespace {

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string HomeOf(const std::string& option) {
  std::string home = option.empty() ? FromEnvironment("LORRY_HOME") : option;
  if (home.empty()) home = FromEnvironment("HOME") + "/.lorry";
  std::error_code ignored;
  std::filesystem::path path = std::filesystem::absolute(home, ignored).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.string();
}

// "lorry: pland: unknown command; did you mean "plan"?" rather than the parser's own words.
Error UsageError(const CLI::App& app, const CLI::ParseError& e, int argc, char** argv) {
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
  }
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with('-')) {
      if (word == "--home" || word == "--address") ++i;
      continue;
    }
    if (std::find(commands.begin(), commands.end(), word) != commands.end()) break;
    const auto near = NearestName(word, commands);
    return MakeError(ErrorCode::kUsage, fmt::format("{}: unknown command", EscapeControl(word)),
                     near ? fmt::format("did you mean \"{}\"?", *near) : "lorry --help lists them");
  }
  return MakeError(ErrorCode::kUsage, e.what(), "add --help for the options and an example");
}

// Known before parsing, so that a usage error is a JSON document too.
bool WantsJson(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](const char* word) { return std::string_view(word) == "--json"; });
}

}  // namespace

CLI::App& AddCommand(CommandSet& set, CLI::App& parent, const std::string& name, const std::string& about,
                     const std::string& example, std::function<Result<int>(Session&)> run) {
  CLI::App& command = *parent.add_subcommand(name, about);
  command.fallthrough();
  if (!example.empty()) command.footer("Example: " + example);
  if (run) {
    command.callback([&set, run = std::move(run)] { set.chosen = run; });
  } else {
    command.require_subcommand(1);
  }
  return command;
}

void AddUnbuiltCommands(CommandSet& set) {
  constexpr std::string_view kPrefix = "command ";
  for (const Feature& feature : Features()) {
    if (feature.built || !feature.name.starts_with(kPrefix)) continue;
    const std::string words(feature.name.substr(kPrefix.size()));
    CLI::App* parent = &set.app;
    const std::vector<std::string> path = Split(words, ' ');
    for (size_t i = 0; i + 1 < path.size(); ++i) {
      const auto existing = parent->get_subcommands([&](CLI::App* command) { return command->get_name() == path[i]; });
      parent = !existing.empty() ? existing.front() : &AddCommand(set, *parent, path[i], "not in this version", "");
    }
    CLI::App& command = AddCommand(set, *parent, path.back(), "not in this version", "", [words](Session&) -> Result<int> {
      return MakeError(ErrorCode::kUnsupported, fmt::format("lorry {}: not in this version", words),
                       "lorry doctor --features lists what is");
    });
    command.fallthrough(false);  // whatever stands behind it is its own
    command.allow_extras();
    command.group("Not in this version");
  }
}

// Carries out the chosen command. JSON is made from arguments and read from answers in many places, and throws where text is not
// UTF-8 or an answer has another shape: here is the edge where that becomes an error like others.
Result<int> CarryOut(const CommandSet& set, Session& session) {
  constexpr int kNotUtf8 = 316;
  try {
    return set.chosen(session);
  } catch (const nlohmann::json::exception& e) {
    if (e.id == kNotUtf8) {
      return MakeError(ErrorCode::kUsage, "an argument, a file name or the current folder is not UTF-8 text", "rename it");
    }
    return MakeError(ErrorCode::kData, fmt::format("the answer was not as expected: {}", EscapeControl(e.what())),
                     "are lorry and lorryd of one version?");
  }
}

int RunCommandLine(int argc, char** argv) {
  CLI::App app{"Lorry fine-tunes language models, runs batch jobs, and tells to the cent what every run cost.", "lorry"};
  app.set_version_flag("--version", std::string("lorry ") + LORRY_VERSION);
  app.footer("Example: lorry up --detach && lorry submit configs/finetune.yaml --wait");
  app.require_subcommand(1);
  app.fallthrough();
  GlobalOptions globals;
  globals.json = argc > 1 && WantsJson(argc, argv);
  app.add_flag("--json", globals.json, "one JSON document on standard output, with stable keys");
  app.add_option("--home", globals.home, "home directory (default $LORRY_HOME, else ~/.lorry)");
  app.add_option("--address", globals.address,
                 "a remote scheduler, tcp://HOST:8601 (default $LORRY_ADDRESS, else the home's own)");
  CommandSet set{app, {}};
  AddSystemCommands(set);
  AddJobCommands(set);
  AddRegistryCommands(set);
  AddModelCommands(set);
  AddBookCommands(set);
  AddUnbuiltCommands(set);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help, --version
  } catch (const CLI::ParseError& e) {
    Terminal(globals.json).PrintErrors({UsageError(app, e, argc, argv)});
    return 2;
  }
  globals.home = HomeOf(globals.home);
  if (globals.address.empty()) globals.address = FromEnvironment("LORRY_ADDRESS");
  Terminal terminal(globals.json);
  Session session(globals, terminal);
  const Result<int> status = CarryOut(set, session);
  if (status.ok()) return *status;
  terminal.PrintErrors({status.error()});
  return ExitStatusOf(status.error().code);
}

}  // namespace lorry
