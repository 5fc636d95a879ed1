// Kinds of devices: "cpu", or a GPU's name as its driver tells it without the maker, words joined by "-": "H100-80GB-HBM3".
#pragma once

#include <string_view>

namespace lorry {

// True where `asked` is the kind or its first words: "H100" names H100, H100-80GB-HBM3 and H100-PCIe, and not H1000. So a job
// says `gpus: H100:8`; a price is always of the whole kind.
inline bool NamesDeviceKind(std::string_view asked, std::string_view kind) {
  return kind.starts_with(asked) && (kind.size() == asked.size() || kind[asked.size()] == '-');
}

}  // namespace lorry
