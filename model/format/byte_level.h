// GPT-2's spelling of bytes as visible characters, in which byte-level vocabularies and merges are written.
// Source: bytes_to_unicode() of https://github.com/openai/gpt-2/blob/master/src/encoder.py.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lorry {

char32_t ByteLevelCharacter(uint8_t byte);
std::string SpellBytes(std::string_view bytes);
// The bytes that a spelled token stands for; nullopt where a character is not one of the 256.
std::optional<std::string> UnspellBytes(std::string_view spelled);

}  // namespace lorry
