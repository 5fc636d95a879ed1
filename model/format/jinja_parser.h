// Parses a template. What of Jinja is taken stands in docs/formats/chat-template.md; the rest is refused by name.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "model/format/jinja_ast.h"

namespace lorry::jinja {

// kData or kUnsupported, with the line. Templates of more than 1 MiB or nested deeper than 100 are refused.
Result<std::shared_ptr<const Template>> Parse(std::string_view source);

}  // namespace lorry::jinja
