#include <memory>

#include "cli/command_groups.h"
#include "cli/registry_commands.h"

namespace lorry {
namespace {

using Reference = std::shared_ptr<std::string>;

void AddImport(CommandSet& set, CLI::App& parent, ItemKind kind) {
  auto options = std::make_shared<ImportOptions>();
  options->kind = kind;
  const bool model = kind == ItemKind::kModel;
  CLI::App& import =
      AddCommand(set, parent, "import",
                 model ? "a Hugging Face directory or a .gguf becomes a version" : "a PEFT directory becomes a version",
                 model ? "lorry model import SmolLM2.gguf --name acme/smollm2"
                       : "lorry adapter import out/ --name acme/synopsis --base smollm2@v1",
                 [options](Session& session) { return RunImport(session, *options); });
  import.add_option("path", options->path, model ? "directory or .gguf" : "directory")->required();
  import.add_option("--name", options->name, "ORG/NAME")->required();
  import.add_flag("--private", options->is_private, "strangers do not see it");
  if (model) {
    import.add_option("--dtype", options->dtype, "of a converted .gguf: float32 | bfloat16 | float16");
  } else {
    import.add_option("--base", options->base, "the model that it was trained on, NAME@vN")->required();
  }
}

void AddAlias(CommandSet& set, CLI::App& parent, ItemKind kind, const std::string& word) {
  auto options = std::make_shared<AliasOptions>();
  options->kind = kind;
  CLI::App& alias = AddCommand(set, parent, "alias", "lets an alias name a version, or says what it named",
                               "lorry " + word + " alias acme/synopsis@v3 prod --if-current v2",
                               [options](Session& session) { return RunAlias(session, *options); });
  alias.add_option("name", options->name, "NAME@vN")->required();
  alias.add_option("alias", options->alias, "prod, staging, ...")->required();
  alias.add_option("--if-current", options->if_current, "only where it names this version now");
  alias.add_option("--reason", options->reason, "for the log");
  alias.add_option("--at", options->at, "what it named at this UTC time");
}

void AddVisibility(CommandSet& set, CLI::App& parent, ItemKind kind, const std::string& word) {
  auto name = std::make_shared<std::string>(), visibility = std::make_shared<std::string>();
  CLI::App& command = AddCommand(set, parent, "visibility", "lets strangers see a name and all its versions, or not",
                                 "lorry " + word + " visibility acme/synopsis private",
                                 [=](Session& session) { return RunVisibility(session, kind, *name, *visibility == "private"); });
  command.add_option("name", *name, "NAME")->required();
  command.add_option("visibility", *visibility, "public | private")->required()->check(CLI::IsMember({"public", "private"}));
}

void AddReferenceCommand(CommandSet& set, CLI::App& parent, ItemKind kind, const std::string& word, const std::string& name,
                         const std::string& about, Result<int> (*run)(Session&, ItemKind, const std::string&)) {
  Reference reference = std::make_shared<std::string>();
  AddCommand(set, parent, name, about, "lorry " + word + " " + name + " acme/synopsis@v3",
             [reference, kind, run](Session& session) { return run(session, kind, *reference); })
      .add_option("name", *reference, "NAME, NAME@vN or NAME@ALIAS")
      ->required();
}

void AddKind(CommandSet& set, ItemKind kind, const std::string& word) {
  CLI::App& parent = AddCommand(set, set.app, word, "the registry's " + word + "s", "lorry " + word + " list");
  AddImport(set, parent, kind);
  AddCommand(set, parent, "list", "names, newest versions, aliases", "lorry " + word + " list",
             [kind](Session& session) { return RunRegistryList(session, kind); });
  Reference shown = std::make_shared<std::string>();
  AddCommand(set, parent, "show", "versions, files and aliases of one name", "lorry " + word + " show acme/synopsis",
             [kind, shown](Session& session) { return RunRegistryShow(session, kind, *shown); })
      .add_option("name", *shown, "NAME")
      ->required();
  Reference pulled = std::make_shared<std::string>();
  auto folder = std::make_shared<std::string>();
  CLI::App& pull =
      AddCommand(set, parent, "pull", "a version's files into a folder", "lorry " + word + " pull acme/synopsis@prod --to here",
                 [kind, pulled, folder](Session& session) { return RunRegistryPull(session, kind, *pulled, *folder); });
  pull.add_option("name", *pulled, "NAME, NAME@vN or NAME@ALIAS")->required();
  pull.add_option("--to", *folder, "the folder (default: the name)");
  // push is import under the name that other registries use.
  auto pushed = std::make_shared<ImportOptions>();
  pushed->kind = kind;
  CLI::App& push = AddCommand(set, parent, "push", "a directory's files become a new version of NAME",
                              "lorry " + word + " push acme/synopsis --from here",
                              [pushed](Session& session) { return RunImport(session, *pushed); });
  push.add_option("name", pushed->name, "ORG/NAME")->required();
  push.add_option("--from", pushed->path, "the directory")->required();
  push.add_flag("--private", pushed->is_private, "strangers do not see it");
  if (kind == ItemKind::kAdapter) {
    push.add_option("--base", pushed->base, "the model that it was trained on, NAME@vN")->required();
  }
  AddAlias(set, parent, kind, word);
  AddVisibility(set, parent, kind, word);
  AddReferenceCommand(set, parent, kind, word, "verify", "reads every byte of a version and compares digests", RunVerify);
  AddReferenceCommand(set, parent, kind, word, "lineage", "what a version was made from, and what that cost", RunLineage);
  AddReferenceCommand(set, parent, kind, word, "rm", "takes a version away that nothing needs", RunRemove);
  auto from = std::make_shared<std::string>(), to = std::make_shared<std::string>();
  CLI::App& diff = AddCommand(set, parent, "diff", "what differs between two versions",
                              "lorry " + word + " diff acme/synopsis@v2 acme/synopsis@v3",
                              [kind, from, to](Session& session) { return RunDiff(session, kind, *from, *to); });
  diff.add_option("from", *from, "NAME@vN")->required();
  diff.add_option("to", *to, "NAME@vN")->required();
}

}  // namespace

void AddRegistryCommands(CommandSet& set) {
  AddKind(set, ItemKind::kModel, "model");
  AddKind(set, ItemKind::kAdapter, "adapter");
}

}  // namespace lorry
