#include <nlohmann/json.hpp>

#include "configs/yaml_document.h"

namespace lorry {

using Kind = YamlNode::Kind;

YamlNodePtr YamlOfJson(const nlohmann::json& value) {
  auto node = std::make_shared<YamlNode>();
  if (value.is_object()) {
    node->kind = Kind::kMap;
    for (const auto& [key, inner] : value.items()) node->members.push_back({key, {}, YamlOfJson(inner)});
  } else if (value.is_array()) {
    node->kind = Kind::kList;
    for (const auto& inner : value) node->items.push_back(YamlOfJson(inner));
  } else if (value.is_string()) {
    node->kind = Kind::kText;
    node->text = value.get<std::string>();
  } else if (value.is_null()) {
    node->kind = Kind::kNull;
  } else {
    node->kind = value.is_boolean() ? Kind::kBool : Kind::kNumber;
    node->text = value.dump();
  }
  return node;
}

void to_json(nlohmann::json& out, const ScalarText& value) { out = nlohmann::json::parse(value.json); }

nlohmann::json JsonOfYaml(const YamlNode& node) {
  switch (node.kind) {
    case Kind::kNull:
      return nullptr;
    case Kind::kBool:
      return node.text == "true";
    case Kind::kNumber: {
      nlohmann::json number = nlohmann::json::parse(node.text, nullptr, /*allow_exceptions=*/false);
      return number.is_discarded() ? nlohmann::json(node.text) : number;
    }
    case Kind::kText:
      return node.text;
    case Kind::kList: {
      nlohmann::json list = nlohmann::json::array();
      for (const YamlNodePtr& item : node.items) list.push_back(JsonOfYaml(*item));
      return list;
    }
    case Kind::kMap: {
      nlohmann::json map = nlohmann::json::object();
      for (const YamlMember& member : node.members) map[member.key] = JsonOfYaml(*member.value);
      return map;
    }
  }
  return nullptr;
}

}  // namespace lorry
