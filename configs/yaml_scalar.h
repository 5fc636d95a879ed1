// What a plain (unquoted) YAML scalar means when scalars are those of JSON.
#pragma once

#include <string>
#include <string_view>

#include "configs/yaml_document.h"

namespace lorry {

struct PlainScalar {
  YamlNode::Kind kind = YamlNode::Kind::kText;
  // Not empty: the scalar is refused, for this reason. YAML readers disagree on what such a word is (yes, 010, 1_000).
  std::string refusal;
};

PlainScalar ClassifyPlainScalar(std::string_view text);

// True for a number by JSON's grammar (RFC 8259 section 6): -0.5, 2e-4, 10; not +1, .5, 010, 0x10.
bool IsJsonNumber(std::string_view text);

}  // namespace lorry
