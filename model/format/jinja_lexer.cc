#include "model/format/jinja_lexer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "model/format/unicode_regex.h"

namespace lorry::jinja {
namespace {

// Bounds the height of an expression's tree, and with it the depth of everything that walks one.
constexpr size_t kMaxTokensOfTag = 1000;

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool BeginsName(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::string WithPlainLineBreaks(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (source.substr(i + 1, 1) == "\n") ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : s_(std::move(source)) {}

  Result<std::vector<Token>> Run() {
    while (at_ < s_.size()) {
      size_t tag = NextTag();
      if (tag == std::string::npos) {
        PutText(s_.substr(at_));
        break;
      }
      LORRY_TRY(Tag(tag));
    }
    Put(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Error Fault(std::string what) const {
    Error error = MakeError(ErrorCode::kData, std::move(what));
    error.line = line_;
    return error;
  }
  void Put(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void PutText(std::string text) {
    line_ += static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (!text.empty()) tokens_.push_back({TokenKind::kText, std::move(text), line_});
  }
  // Moves to `end`, counting lines; a line begins there if the last character passed was a line break.
  void MoveTo(size_t end) {
    if (end > at_) line_starts_ = s_[end - 1] == '\n';
    line_ += static_cast<int>(std::count(s_.begin() + at_, s_.begin() + end, '\n'));
    at_ = end;
  }

  size_t NextTag() const {
    for (size_t i = s_.find('{', at_); i != std::string::npos; i = s_.find('{', i + 1)) {
      if (i + 1 < s_.size() && (s_[i + 1] == '{' || s_[i + 1] == '%' || s_[i + 1] == '#')) return i;
    }
    return std::string::npos;
  }

  // The text before a tag, stripped as the tag's sign and lstrip_blocks say.
  void TextBefore(size_t tag, char sign, bool is_output) {
    std::string text = s_.substr(at_, tag - at_);
    int breaks = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (sign == '-') {
      while (!text.empty() && IsSpace(text.back())) text.pop_back();
    } else if (sign != '+' && !is_output) {
      size_t line = text.rfind('\n') + 1;
      bool whole_line = line > 0 || line_starts_;
      if (whole_line && std::all_of(text.begin() + line, text.end(), IsSpace)) text.resize(line);
    }
    int line = line_ + breaks;
    PutText(std::move(text));
    line_ = line;
    at_ = tag;
  }

  Status Tag(size_t tag) {
    const char kind = s_[tag + 1];
    const char sign = tag + 2 < s_.size() && (s_[tag + 2] == '-' || s_[tag + 2] == '+') ? s_[tag + 2] : ' ';
    TextBefore(tag, sign, kind == '{');
    MoveTo(tag + 2 + (sign != ' '));
    if (kind == '#') return Comment();
    if (kind == '%' && IsRaw()) return Raw();
    Put(kind == '{' ? TokenKind::kOutputBegin : TokenKind::kBlockBegin, "");
    return Inside(kind == '{');
  }

  // Behind the end of a tag: -%} takes all white space, %} one line break, +%} and }} nothing.
  void AfterEnd(char sign, bool is_output) {
    size_t end = at_;
    if (sign == '-') {
      while (end < s_.size() && IsSpace(s_[end])) ++end;
    } else if (sign != '+' && !is_output && end < s_.size() && s_[end] == '\n') {
      ++end;
    }
    MoveTo(end);
  }

  Status Comment() {
    size_t end = s_.find("#}", at_);
    if (end == std::string::npos) return Fault("a comment is not closed with #}");
    char sign = end > at_ ? s_[end - 1] : ' ';
    MoveTo(end + 2);
    AfterEnd(sign, false);
    return OkStatus();
  }

  size_t SkipSpace(size_t i) const {
    while (i < s_.size() && IsSpace(s_[i])) ++i;
    return i;
  }
  bool IsRaw() const {
    size_t i = SkipSpace(at_);
    if (s_.compare(i, 3, "raw") != 0) return false;
    i = SkipSpace(i + 3);
    return s_.compare(i, 2, "%}") == 0 || s_.compare(i, 3, "-%}") == 0;
  }

  Status Raw() {
    size_t close = s_.find("%}", at_);
    char sign = s_[close - 1];
    MoveTo(close + 2);
    if (sign == '-') AfterEnd(sign, true);
    for (size_t tag = s_.find("{%", at_); tag != std::string::npos; tag = s_.find("{%", tag + 2)) {
      size_t i = tag + 2;
      char begin_sign = i < s_.size() && (s_[i] == '-' || s_[i] == '+') ? s_[i++] : ' ';
      i = SkipSpace(i);
      if (s_.compare(i, 6, "endraw") != 0) continue;
      i = SkipSpace(i + 6);
      char end_sign = i < s_.size() && (s_[i] == '-' || s_[i] == '+') ? s_[i++] : ' ';
      if (s_.compare(i, 2, "%}") != 0) continue;
      TextBefore(tag, begin_sign, false);
      MoveTo(i + 2);
      AfterEnd(end_sign, false);
      return OkStatus();
    }
    return Fault("{% raw %} without {% endraw %}");
  }

  // The tokens of one tag up to its end. Inside brackets a "}}" closes an object.
  Status Inside(bool is_output) {
    const std::string_view end = is_output ? "}}" : "%}";
    std::string brackets;
    const size_t first = tokens_.size();
    while (true) {
      if (tokens_.size() - first > kMaxTokensOfTag) return Fault("a tag of more than 1000 words");
      MoveTo(SkipSpace(at_));
      if (at_ >= s_.size()) return Fault(is_output ? "{{ is not closed with }}" : "{% is not closed with %}");
      std::string_view rest = std::string_view(s_).substr(at_);
      char sign = rest[0] == '-' || (rest[0] == '+' && !is_output) ? rest[0] : ' ';
      if (brackets.empty() && rest.substr(sign != ' ', 2) == end) {
        Put(is_output ? TokenKind::kOutputEnd : TokenKind::kBlockEnd, "");
        MoveTo(at_ + 2 + (sign != ' '));
        AfterEnd(sign, is_output);
        return OkStatus();
      }
      LORRY_TRY(One(rest, brackets));
    }
  }

  Status One(std::string_view rest, std::string& brackets) {
    char c = rest[0];
    if (c == '\'' || c == '"') return String(c);
    if (IsDigit(c)) {
      Number(rest);
      return OkStatus();
    }
    if (BeginsName(c)) {
      size_t n = 1;
      while (n < rest.size() && (BeginsName(rest[n]) || IsDigit(rest[n]))) ++n;
      Put(TokenKind::kName, std::string(rest.substr(0, n)));
      MoveTo(at_ + n);
      return OkStatus();
    }
    constexpr std::array<std::string_view, 6> kLong = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = std::find(kLong.begin(), kLong.end(), rest.substr(0, 2)) != kLong.end() ? 2 : 1;
    if (n == 1 && std::string_view("+-*/%~<>=.:|,()[]{}").find(c) == std::string_view::npos) {
      return Fault(
          fmt::format("unexpected character {}", static_cast<unsigned char>(c) < 0x80 ? std::string(1, c) : "beyond ASCII"));
    }
    if (c == '(' || c == '[' || c == '{') {
      brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) return Fault(fmt::format("unexpected {}", c));
      brackets.pop_back();
    }
    Put(TokenKind::kOperator, std::string(rest.substr(0, n)));
    MoveTo(at_ + n);
    return OkStatus();
  }

  void Number(std::string_view rest) {
    size_t n = 0;
    bool is_float = false;
    auto digits = [&] {
      while (n < rest.size() && (IsDigit(rest[n]) || rest[n] == '_')) ++n;
    };
    digits();
    if (n + 1 < rest.size() && rest[n] == '.' && IsDigit(rest[n + 1])) {
      is_float = true;
      ++n;
      digits();
    }
    if (n + 1 < rest.size() && (rest[n] == 'e' || rest[n] == 'E')) {
      size_t exponent = n + 1 + (rest[n + 1] == '+' || rest[n + 1] == '-');
      if (exponent < rest.size() && IsDigit(rest[exponent])) {
        is_float = true;
        n = exponent;
        digits();
      }
    }
    std::string text(rest.substr(0, n));
    std::erase(text, '_');
    Put(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    MoveTo(at_ + n);
  }

  Status String(char quote) {
    std::string text;
    size_t i = at_ + 1;
    for (; i < s_.size() && s_[i] != quote; ++i) {
      if (s_[i] != '\\' || i + 1 >= s_.size()) {
        text += s_[i];
        continue;
      }
      ++i;
      LORRY_TRY(Escape(i, text));
    }
    if (i >= s_.size()) return Fault("a text is not closed with its quote");
    Put(TokenKind::kString, std::move(text));
    MoveTo(i + 1);
    return OkStatus();
  }

  // Python's escapes; an unknown one stands for itself with its backslash. `i` is left on the last character.
  Status Escape(size_t& i, std::string& text) {
    constexpr std::string_view kNames = "nrtabfv0\\'\"", kCharacters = "\n\r\t\a\b\f\v";
    const char c = s_[i];
    if (size_t known = kNames.find(c); known < kCharacters.size()) {
      text += kCharacters[known];
    } else if (c == '\\' || c == '\'' || c == '"') {
      text += c;
    } else if (c == '\n') {
      return OkStatus();
    } else if (c == 'x' || c == 'u' || c == 'U') {
      size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      std::string hex = s_.substr(std::min(i + 1, s_.size()), n);
      if (hex.size() != n || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
        return Fault("a broken escape in a text");
      }
      unsigned long code = std::stoul(hex, nullptr, 16);
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return Fault("an escape that is no character");
      AppendUtf8(text, static_cast<char32_t>(code));
      i += n;
    } else if (c >= '0' && c <= '7') {
      unsigned code = 0;
      size_t n = 0;
      for (; n < 3 && i + n < s_.size() && s_[i + n] >= '0' && s_[i + n] <= '7'; ++n) code = code * 8 + (s_[i + n] - '0');
      AppendUtf8(text, code);
      i += n - 1;
    } else {
      text += '\\';
      text += c;
    }
    return OkStatus();
  }

  std::string s_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(WithPlainLineBreaks(source)).Run(); }

}  // namespace lorry::jinja
