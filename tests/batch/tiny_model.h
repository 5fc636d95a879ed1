// A decoder of two layers with random weights and a tokenizer of single bytes, written as a model directory: small enough
// to be computed in milliseconds, with everything that a real one has.
#pragma once

#include <string>

#include "model/format/tokenizer.h"

namespace lorry {

// Ids 0..255 are the bytes, 256 begins and 257 ends a turn; the context holds 256 tokens.
void WriteTinyModel(const std::string& directory, uint64_t seed = 1);
std::string TinyTokenizerJson();
inline constexpr const char* kTinyChatTemplate =
    "{% for message in messages %}{{ '<s>' + message['role'] + '\\n' + message['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}";

}  // namespace lorry
