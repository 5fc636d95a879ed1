#include <nlohmann/json.hpp>

#include "model/format/gguf.h"
#include "model/format/import_gguf.h"
#include "model/format/tokenizer.h"

namespace lorry {

Result<Tokenizer> Tokenizer::FromGguf(const GgufFile& file) {
  LORRY_ASSIGN_OR_RETURN(auto tokenizer, GgufTokenizerJson(file));
  LORRY_ASSIGN_OR_RETURN(auto config, GgufTokenizerConfig(file));
  return FromTokenizerJson(tokenizer.dump(), config.dump(), file.name());
}

}  // namespace lorry
