// What of the commands, job kinds, keys and files ("file NAME") of Lorry this version carries out. A known command, kind or key
// that it does not is refused by name ("not in this version", status 2), never ignored; `lorry doctor --features` prints this
// list.
#pragma once

#include <span>
#include <string_view>

namespace lorry {

struct Feature {
  // "kind KIND", "command NAME", "option COMMAND --OPTION", a key path ("sweep"), or a key path and value ("adapter.type:
  // qlora").
  std::string_view name;
  bool built;
};

// Sorted by name. What is not listed is built.
std::span<const Feature> Features();

bool IsBuilt(std::string_view name);

}  // namespace lorry
