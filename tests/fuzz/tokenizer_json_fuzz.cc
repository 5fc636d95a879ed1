// A tokenizer.json that others wrote: either an error, or a tokenizer that encodes and decodes any text.
// Input: the JSON, then a zero byte and the text (both optional).
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/format/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view json = input.substr(0, zero);
  const std::string_view text = zero == std::string_view::npos ? "Hello  w\xC3\xB6rld 12\n<s>\xFF" : input.substr(zero + 1);
  auto tokenizer = lorry::Tokenizer::FromTokenizerJson(json, R"({"eos_token": "</s>"})", "fuzz");
  if (!tokenizer.ok()) return 0;
  auto ids = tokenizer->Encode(text, true);
  if (ids.ok()) {
    tokenizer->Decode(*ids, false);
    for (lorry::TokenId id : *ids) tokenizer->TokenBytes(id);
  }
  return 0;
}
