#include "configs/yaml_scalar.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace lorry {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

size_t SkipDigits(std::string_view text, size_t at) {
  while (at < text.size() && IsDigit(text[at])) ++at;
  return at;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Numbers as other YAML readers take them: 010, 0x1f, 0b1, 1_000, +1, .5, 1., 1.e3, .inf, -.inf, .nan.
bool LooksLikeForeignNumber(std::string_view text) {
  std::string word = Lower(text);
  if (!word.empty() && (word[0] == '+' || word[0] == '-')) word.erase(0, 1);
  if (word.empty()) return false;
  if (word == ".inf" || word == ".nan") return true;
  if (word.size() > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'o' || word[1] == 'b')) {
    return std::all_of(word.begin() + 2, word.end(),
                       [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) || c == '_'; });
  }
  if (!IsDigit(word[0]) && !(word[0] == '.' && word.size() > 1 && IsDigit(word[1]))) return false;
  size_t at = 0;
  auto skip = [&] {
    while (at < word.size() && (IsDigit(word[at]) || word[at] == '_')) ++at;
  };
  skip();
  if (at < word.size() && word[at] == '.') {
    ++at;
    skip();
  }
  if (at < word.size() && word[at] == 'e') {
    ++at;
    if (at < word.size() && (word[at] == '+' || word[at] == '-')) ++at;
    const size_t digits = at;
    skip();
    if (at == digits) return false;
  }
  return at == word.size();
}

}  // namespace

bool IsJsonNumber(std::string_view text) {
  size_t at = 0;
  if (at < text.size() && text[at] == '-') ++at;
  const size_t whole = at;
  at = SkipDigits(text, at);
  if (at == whole || (text[whole] == '0' && at - whole > 1)) return false;
  if (at < text.size() && text[at] == '.') {
    const size_t fraction = ++at;
    at = SkipDigits(text, at);
    if (at == fraction) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t exponent = at;
    at = SkipDigits(text, at);
    if (at == exponent) return false;
  }
  return at == text.size();
}

PlainScalar ClassifyPlainScalar(std::string_view text) {
  using Kind = YamlNode::Kind;
  if (text == "true" || text == "false") return {Kind::kBool, ""};
  if (text == "null") return {Kind::kNull, ""};
  if (IsJsonNumber(text)) return {Kind::kNumber, ""};
  if (text == "~") return {Kind::kText, "write null for no value"};
  static constexpr std::array<std::string_view, 7> kWords = {"yes", "no", "on", "off", "true", "false", "null"};
  if (std::find(kWords.begin(), kWords.end(), Lower(text)) != kWords.end()) {
    return {Kind::kText, "write true, false or null, or quote it where text is meant"};
  }
  if (LooksLikeForeignNumber(text)) {
    return {Kind::kText, "write a decimal number such as 10, 0.5 or 2e-4, or quote it where text is meant"};
  }
  return {Kind::kText, ""};
}

}  // namespace lorry
