#include "cli/registry_text.h"

#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cli/answer_fields.h"
#include "cli/terminal.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr size_t kShownDigits = 16;  // of a digest, in a table

std::string SizeOf(const json& files) {
  int64_t size = 0;
  for (const json& file : files) size += NumberAt(file, "size");
  return FormatSize(Bytes(size));
}

}  // namespace

std::string NameText(const json& name) {
  std::string text =
      fmt::format("{} {}{}\n", TextAt(name, "kind"), TextAt(name, "name"), name.value("private", false) ? " (private)" : "");
  const json aliases = name.value("aliases", json::object());
  for (const auto& [alias, version] : aliases.items()) {
    text += fmt::format("alias {} = {}\n", alias, version.is_string() ? version.get<std::string>() : "-");
  }
  std::vector<std::vector<std::string>> table = {
      {"VERSION", "DIGEST", "CREATED", "FILES", "SIZE", "BASE", "RUN", "DOLLARS", "SOURCE", "BY"}};
  for (const json& version : ListAt(name, "versions")) {
    const json files = ListAt(version, "files");
    table.push_back({TextAt(version, "version", "-"), TextAt(version, "digest").substr(0, kShownDigits),
                     TextAt(version, "created", "-"), std::to_string(files.size()), SizeOf(files), TextAt(version, "base", "-"),
                     TextAt(version, "run", "-"), TextAt(version, "cost_usd", "-"), TextAt(version, "source", "-"),
                     TextAt(version, "by", "-")});
  }
  text += table.size() == 1 ? "no versions\n" : AlignColumns(table);
  for (const json& move : ListAt(name, "alias_log")) {
    const std::string reason = TextAt(move, "reason"), by = TextAt(move, "by");
    text += fmt::format("{} alias {} = {}{}{}\n", TextAt(move, "at"), TextAt(move, "alias"), TextAt(move, "version", "-"),
                        by.empty() ? "" : ", by " + by, reason.empty() ? "" : ": " + reason);
  }
  return text;
}

std::string VerdictText(const json& verdict) {
  std::vector<std::vector<std::string>> table;
  for (const json& file : ListAt(verdict, "files")) {
    table.push_back({file.value("whole", false) ? "ok" : "BROKEN", TextAt(file, "path"),
                     TextAt(file, "digest").substr(0, kShownDigits), TextAt(file, "fault")});
  }
  return AlignColumns(table) +
         fmt::format("{} {}\n", TextAt(verdict, "reference"), verdict.value("whole", false) ? "is whole" : "is not whole");
}

}  // namespace lorry
