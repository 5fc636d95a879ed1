// Carries out a parsed template over variables.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/format/chat_template.h"
#include "model/format/jinja_ast.h"

namespace lorry::jinja {

struct RunOptions {
  bool strict = false;         // printing an undefined variable is an error that names it
  std::optional<Instant> now;  // what strftime_now reads; absent: there is no strftime_now
};

// kData with the template's line.
Result<RenderedChat> Run(const Template& parsed, Dict variables, const RunOptions& options);

}  // namespace lorry::jinja
