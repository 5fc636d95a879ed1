// The grammars of the texts that a job may hold: names of runs, of registry repositories and aliases, paths, references.
//
// A form takes what the person wrote and gives what Lorry goes on with ("debian" -> "library/debian", "data/t.jsonl" -> an
// absolute path), or an Error whose message says what is wrong with it. Pure but for kReference and kPath, which look at
// the folder that relative paths start at.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

enum class TextForm {
  kAny,         // any text that is not empty
  kWord,        // any text: an argument of a program
  kLine,        // one line, at most 256 bytes
  kName,        // a run's or project's name: letters, digits, . _ -, at most 96
  kPath,        // a file or folder; becomes absolute
  kRepository,  // ORG/NAME, or NAME for library/NAME
  kReference,   // a repository with @version or @alias, or a directory; a directory becomes absolute
  kAlias,       // letters, digits, . _ - and /
  kProgram,     // argv[0]: a path with a slash becomes absolute, a bare name stays
};

// `folder`: where relative paths start; empty for the current directory. Without `look` no reference is taken for a directory
// because one of that name exists here: for jobs that come from elsewhere.
Result<std::string> ApplyForm(TextForm form, std::string_view text, const std::string& folder, bool look = true);

}  // namespace lorry
