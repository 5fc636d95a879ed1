// The strict reader for every YAML file that a person writes: jobs, prices, cluster and policy.
//
// A file holds one document: UTF-8 (a byte order mark and CRLF are allowed), at most 1 MiB, 64 levels, 10,000 nodes after
// aliases are followed; no merge keys, no tags, no directives. Scalars are those of JSON: null, true, false, decimal numbers
// and text; what YAML 1.1 would quietly turn into something else (yes, 010, 0x10, 1_000, ~) is refused unless quoted, and a
// quoted number is text. Repeated keys and quotes that nobody closes, which yaml-cpp takes in silence, are found here.
//
// A document that cannot be read at all gives one error. What is wrong in single nodes (a repeated key, a tag, `yes`) is
// collected in `problems`, so that the caller can list it together with its own findings; such a node is marked `refused`.
//
// Nodes are immutable and shared; reading them is safe from any thread.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry {

// Where something stands in a file. Lines and columns (in code points) count from 1; 0 means "not from a file".
struct SourcePosition {
  int line = 0;
  int column = 0;
};

struct YamlNode;
using YamlNodePtr = std::shared_ptr<const YamlNode>;

struct YamlMember {
  std::string key;
  SourcePosition at;  // of the key
  YamlNodePtr value;  // never null
};

struct YamlNode {
  enum class Kind { kNull, kBool, kNumber, kText, kList, kMap };

  Kind kind = Kind::kNull;
  SourcePosition at;
  std::string text;                 // kBool, kNumber, kText: as written, quotes and folding undone; a number keeps its digits
  bool refused = false;             // already reported in `problems`: callers say nothing more about it
  std::string origin;               // "--set key" where a command line override made this node, else empty
  std::vector<YamlNodePtr> items;   // kList
  std::vector<YamlMember> members;  // kMap, in the order of the file, keys unique

  const YamlMember* Find(std::string_view key) const;  // null where there is none
};

// "a mapping", "a list", "a number", ...: for messages.
std::string_view KindName(YamlNode::Kind kind);

struct YamlDocument {
  YamlNodePtr root;             // null after a syntax error
  std::vector<Error> problems;  // with file, line, column and key path
};

inline constexpr size_t kMaxYamlBytes = 1 << 20;
inline constexpr int kMaxYamlDepth = 64;
inline constexpr int64_t kMaxYamlNodes = 10'000;

// Reads `text`; `file` is only named in errors.
YamlDocument ReadYaml(std::string_view text, const std::string& file);

// One value as it may stand behind `--set key=`: a scalar or a flow collection. Its nodes carry `origin`.
Result<YamlNodePtr> ReadYamlValue(std::string_view text, const std::string& origin);

// `root` with the value at the dotted `path` replaced or added; missing maps are made on the way.
// Error kSpec: a part of the path is no mapping, or empty.
Result<YamlNodePtr> WithValueAt(const YamlNodePtr& root, std::string_view path, const YamlNodePtr& value);

// A number, true or false, or a word, as JSON writes it: the value of a key that another key names (sweep.space).
struct ScalarText {
  std::string json;
  bool operator==(const ScalarText&) const = default;
};
void to_json(nlohmann::json& out, const ScalarText& value);

// The same tree made of JSON (positions 0): JSON that Lorry wrote is checked by the rules of the YAML.
YamlNodePtr YamlOfJson(const nlohmann::json& value);

// The tree as JSON; numbers keep their value, not their spelling.
nlohmann::json JsonOfYaml(const YamlNode& node);

}  // namespace lorry
