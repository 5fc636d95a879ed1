#include "model/format/byte_level.h"

#include "model/format/unicode_regex.h"

namespace lorry {
namespace {

bool ShownAsItself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct Spelling {
  std::array<char32_t, 256> character{};
  std::array<int16_t, 0x144> byte{};  // by character; -1: none

  Spelling() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      character[b] = ShownAsItself(b) ? b : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};

const Spelling& TheSpelling() {
  static const Spelling spelling;
  return spelling;
}

}  // namespace

char32_t ByteLevelCharacter(uint8_t byte) { return TheSpelling().character[byte]; }

std::string SpellBytes(std::string_view bytes) {
  std::string out;
  for (unsigned char byte : bytes) AppendUtf8(out, ByteLevelCharacter(byte));
  return out;
}

std::optional<std::string> UnspellBytes(std::string_view spelled) {
  const Spelling& spelling = TheSpelling();
  std::string out;
  for (size_t at = 0; at < spelled.size();) {
    char32_t c = NextCodePoint(spelled, at);
    if (c >= spelling.byte.size() || spelling.byte[c] < 0) return std::nullopt;
    out += static_cast<char>(spelling.byte[c]);
  }
  return out;
}

}  // namespace lorry
