#include "configs/yaml_writer.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include <nlohmann/json.hpp>

#include "configs/yaml_scalar.h"

namespace lorry {
namespace {

using nlohmann::json;

// Made of what has no meaning of its own in YAML, and not a word that readers take for something else than text.
bool MayStandPlain(std::string_view text) {
  if (text.empty() || text.ends_with(' ')) return false;
  if (!std::isalpha(static_cast<unsigned char>(text[0])) && text[0] != '/') return false;
  const bool harmless = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view(" _./@+=-").find(static_cast<char>(c)) != std::string_view::npos;
  });
  const PlainScalar read = ClassifyPlainScalar(text);
  return harmless && read.kind == YamlNode::Kind::kText && read.refusal.empty();
}

// A scalar, or a list or mapping with nothing in it. JSON's quoted text is YAML's, but for a control character that JSON lets
// stand.
std::string OneLine(const json& value) {
  if (value.is_string() && MayStandPlain(value.get_ref<const std::string&>())) return value.get<std::string>();
  std::string line;
  for (const char c : value.dump()) {
    if (c == '\x7f') {
      line += "\\u007f";
    } else {
      line += c;
    }
  }
  return line;
}

void AppendBlock(const json& value, const std::string& indent, std::string& out) {
  const auto append = [&](const std::string& lead, const json& inner) {
    out += indent + lead;
    if (inner.is_structured() && !inner.empty()) {
      out += "\n";
      AppendBlock(inner, indent + "  ", out);
    } else {
      out += " " + OneLine(inner) + "\n";
    }
  };
  if (value.is_array()) {
    for (const json& item : value) append("-", item);
  } else {
    for (const auto& [key, item] : value.items()) append(OneLine(key) + ":", item);
  }
}

}  // namespace

std::string WriteYaml(const json& document) {
  std::string out;
  AppendBlock(document, "", out);
  return out;
}

}  // namespace lorry
