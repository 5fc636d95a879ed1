#include "cli/registry_commands.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/name_rules.h"
#include "cli/model_source.h"
#include "cli/registry_text.h"
#include "cli/run_text.h"
#include "model/format/dtype.h"
#include "model/format/import_gguf.h"
#include "model/format/model_directory.h"
#include "model/format/safetensors.h"
#include "model/format/tokenizer.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

std::string KindWord(ItemKind kind) { return kind == ItemKind::kModel ? "model" : "adapter"; }

// Who asks, for the registry's logs: user@host.
std::string Who() {
  const passwd* user = getpwuid(geteuid());
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return fmt::format("{}@{}", user != nullptr ? user->pw_name : std::to_string(geteuid()), host);
}

// A reference with its full name; a bare NAME is library/NAME.
Result<std::string> FullReference(const std::string& text) {
  const size_t at = text.find('@');
  LORRY_ASSIGN_OR_RETURN(const std::string name, FullName(text.substr(0, at)));
  return at == std::string::npos ? name : name + text.substr(at);
}

// The directory to import: as given, or made of a .gguf for the time of the import.
struct Source {
  std::string folder;
  std::unique_ptr<TempDirectory> converted;
};

Result<Source> SourceOf(Session& session, const ImportOptions& options) {
  std::error_code failed;
  Source source;
  if (!fs::exists(options.path, failed)) return MakeError(ErrorCode::kNotFound, options.path + " does not exist");
  if (fs::is_directory(options.path, failed)) {
    source.folder = options.path;
    return source;
  }
  if (options.kind == ItemKind::kAdapter || !options.path.ends_with(".gguf")) {
    return MakeError(ErrorCode::kUsage, options.path + " is neither a directory nor a .gguf",
                     "a model is a Hugging Face directory or a .gguf, an adapter a PEFT directory");
  }
  const Result<DType> dtype = DTypeFromTorchName(options.dtype);
  if (!dtype.ok()) return MakeError(ErrorCode::kUsage, "--dtype: " + dtype.error().message, "float32, bfloat16 or float16");
  ImportGgufOptions conversion;
  conversion.dtype = *dtype;
  session.terminal().Progress("converting " + options.path, 0, 0);
  LORRY_ASSIGN_OR_RETURN(source.converted, TempDirectory::Make());
  source.folder = source.converted->path() + "/model";
  LORRY_TRY(ImportGguf(options.path, source.folder, conversion));
  return source;
}

Status CheckSource(const ImportOptions& options, const std::string& folder) {
  if (options.kind == ItemKind::kModel) {
    LORRY_TRY(ModelDirectory::Open(folder));
    LORRY_TRY(Tokenizer::FromDirectory(folder));
    return OkStatus();
  }
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(folder + "/adapter_config.json", 1 << 20));
  LORRY_TRY(ParseJson(text));
  LORRY_TRY(SafetensorsFile::Open(folder + "/adapter_model.safetensors"));
  return OkStatus();
}

// Every visible file of the folder, pushed; [{path, digest, size}] by path.
Result<nlohmann::json> PushFolder(Session& session, const std::string& folder) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> paths, VisibleFiles(folder));
  nlohmann::json files = nlohmann::json::array();
  for (const std::string& path : paths) {
    const std::string full = folder + "/" + path;
    LORRY_ASSIGN_OR_RETURN(const Bytes size, FileSize(full));
    session.terminal().Progress("hashing " + path, 0, 0, FormatSize(size));
    LORRY_ASSIGN_OR_RETURN(const Digest digest, Sha256OfFile(full));
    LORRY_TRY(scheduler->PutFile(
        full, digest, [&](uint64_t done, uint64_t total) { session.terminal().Progress("pushing " + path, done, total); }));
    files.push_back({{"path", path}, {"digest", digest.hex()}, {"size", size.count()}});
  }
  session.terminal().EndProgress();
  return files;
}

Result<int> AskAndShow(Session& session, const std::string& query, const nlohmann::json& question, bool changes = false) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask(query, question, changes));
  session.terminal().Print(ReadableJson(answer));
  session.terminal().PrintJson(answer);
  return 0;
}

}  // namespace

Result<std::vector<std::string>> VisibleFiles(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code failed;
  for (auto entry = fs::recursive_directory_iterator(folder, failed); !failed && entry != fs::recursive_directory_iterator();
       entry.increment(failed)) {
    if (entry->path().filename().string().starts_with('.')) {
      if (entry->is_directory(failed)) entry.disable_recursion_pending();
      continue;
    }
    if (entry->is_regular_file(failed)) paths.push_back(entry->path().lexically_relative(folder).generic_string());
  }
  if (failed) return MakeError(ErrorCode::kStorage, fmt::format("cannot read {}: {}", folder, failed.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

Result<nlohmann::json> ImportFolder(Session& session, const std::string& folder, nlohmann::json question) {
  question["by"] = Who();
  LORRY_ASSIGN_OR_RETURN(question["files"], PushFolder(session, folder));
  LORRY_ASSIGN_OR_RETURN(nlohmann::json answer, session.Ask("registry.import", question, /*changes=*/true));
  if (answer.value("existing", false)) session.terminal().Note("these files are that version already");
  answer["files"] = std::move(question["files"]);
  return answer;
}

Result<int> RunImport(Session& session, const ImportOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const std::string name, FullName(options.name));
  nlohmann::json question = {
      {"kind", KindWord(options.kind)}, {"name", name}, {"private", nullptr}, {"base", nullptr}, {"alias", nullptr}};
  if (options.is_private) question["private"] = true;  // else as the name is
  question["source"] = options.path;
  if (!options.base.empty()) {
    LORRY_ASSIGN_OR_RETURN(question["base"], FullReference(options.base));
  }
  LORRY_ASSIGN_OR_RETURN(const Source source, SourceOf(session, options));
  LORRY_TRY(CheckSource(options, source.folder));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, ImportFolder(session, source.folder, std::move(question)));
  session.terminal().Print(fmt::format("{} {}\n", answer.value("reference", ""), answer.value("digest", "")));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunRegistryList(Session& session, ItemKind kind) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("registry.list", {{"kind", KindWord(kind)}}));
  std::vector<std::vector<std::string>> table = {{"NAME", "VERSIONS", "LATEST", "ALIASES"}};
  for (const auto& item : answer.value("items", nlohmann::json::array())) {
    std::string aliases;
    const nlohmann::json named = item.value("aliases", nlohmann::json::object());
    for (const auto& [alias, version] : named.items()) {
      aliases += fmt::format("{}{}={}", aliases.empty() ? "" : " ", alias, version.get<std::string>());
    }
    const nlohmann::json versions = item.value("versions", nlohmann::json(0));
    table.push_back({item.value("name", ""), versions.is_array() ? std::to_string(versions.size()) : versions.dump(),
                     item.value("latest", ""), aliases});
  }
  session.terminal().Print(table.size() == 1 ? fmt::format("no {}s\n", KindWord(kind)) : AlignColumns(table));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunRegistryShow(Session& session, ItemKind kind, const std::string& name) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullReference(name));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer,
                         session.Ask("registry.show", {{"kind", KindWord(kind)}, {"name", full.substr(0, full.find('@'))}}));
  session.terminal().Print(NameText(answer));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunRegistryPull(Session& session, ItemKind kind, const std::string& reference, const std::string& folder) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullReference(reference));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json version,
                         session.Ask("registry.resolve", {{"kind", KindWord(kind)}, {"reference", full}}));
  const std::string name = version.at("name").get<std::string>();
  const std::string to = folder.empty() ? name.substr(name.find('/') + 1) : folder;
  LORRY_TRY(FetchFiles(session, version.at("files"), to));
  session.terminal().Print(fmt::format("{} in {}\n", version.at("reference").get<std::string>(), to));
  session.terminal().PrintJson(
      {{"reference", version.at("reference")}, {"digest", version.at("digest")}, {"to", to}, {"files", version.at("files")}});
  return 0;
}

Result<int> RunAlias(Session& session, const AliasOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullReference(options.name));
  const size_t at = full.find('@');
  if (!options.at.empty()) {
    return AskAndShow(
        session, "registry.alias_at",
        {{"kind", KindWord(options.kind)}, {"name", full.substr(0, at)}, {"alias", options.alias}, {"at", options.at}});
  }
  if (at == std::string::npos) {
    return MakeError(ErrorCode::kUsage, "which version of " + full + "?",
                     fmt::format("write lorry {} alias NAME@v3 prod, or --at TIME to look back", KindWord(options.kind)));
  }
  nlohmann::json question = {{"kind", KindWord(options.kind)}, {"name", full.substr(0, at)}, {"version", full.substr(at + 1)},
                             {"alias", options.alias},         {"reason", options.reason},   {"by", Who()},
                             {"if_current", nullptr}};
  if (!options.if_current.empty()) question["if_current"] = options.if_current;
  return AskAndShow(session, "registry.alias", question, /*changes=*/true);
}

Result<int> RunVisibility(Session& session, ItemKind kind, const std::string& name, bool is_private) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullName(name));
  LORRY_ASSIGN_OR_RETURN(
      const nlohmann::json answer,
      session.Ask("registry.visibility", {{"kind", KindWord(kind)}, {"name", full}, {"private", is_private}}, /*changes=*/true));
  session.terminal().Print(fmt::format("{} is {}, with all its versions\n", full, is_private ? "private" : "public"));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunVerify(Session& session, ItemKind kind, const std::string& reference) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullReference(reference));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer,
                         session.Ask("registry.verify", {{"kind", KindWord(kind)}, {"reference", full}}));
  session.terminal().Print(VerdictText(answer));
  session.terminal().PrintJson(answer);
  return answer.value("whole", false) ? 0 : 1;
}

Result<int> RunLineage(Session& session, ItemKind kind, const std::string& reference) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullReference(reference));
  return AskAndShow(session, "registry.lineage", {{"kind", KindWord(kind)}, {"reference", full}});
}

Result<int> RunRemove(Session& session, ItemKind kind, const std::string& reference) {
  LORRY_ASSIGN_OR_RETURN(const std::string full, FullReference(reference));
  return AskAndShow(session, "registry.remove", {{"kind", KindWord(kind)}, {"reference", full}}, /*changes=*/true);
}

Result<int> RunDiff(Session& session, ItemKind kind, const std::string& from, const std::string& to) {
  LORRY_ASSIGN_OR_RETURN(const std::string first, FullReference(from));
  LORRY_ASSIGN_OR_RETURN(const std::string second, FullReference(to));
  return AskAndShow(session, "registry.diff", {{"kind", KindWord(kind)}, {"from", first}, {"to", second}});
}

}  // namespace lorry
