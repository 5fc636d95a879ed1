#include <string>

#include "model/format/gguf.h"
#include "model/format/import_gguf.h"
#include "model/format/tokenizer.h"

namespace lorry {

Result<Tokenizer> Tokenizer::FromGguf(const GgufFile& file) {
  LORRY_ASSIGN_OR_RETURN(const std::string tokenizer, GgufTokenizerJson(file));
  LORRY_ASSIGN_OR_RETURN(const std::string config, GgufTokenizerConfigJson(file));
  return FromTokenizerJson(tokenizer, config, file.name());
}

}  // namespace lorry
