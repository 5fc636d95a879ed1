#include "model/format/unicode_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <span>

#include <fmt/format.h>

#include "model/format/unicode_additions.h"

namespace lorry {
namespace {

// Unicode's White_Space, as the inside of a character class.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpaces =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// A pattern may take this many steps on one text. The longest honest texts (a million blanks) stay far below.
constexpr uint32_t kMatchLimit = 50'000'000;

std::string PropertyMembers(std::string_view property, std::span<const CodePointRange> additions) {
  std::string out = fmt::format("\\p{{{}}}", property == "Numeric" ? "N" : property);
  for (const CodePointRange& range : additions) {
    out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", uint32_t{range.first}, uint32_t{range.last});
  }
  return out;
}

// Walks a pattern once and writes PCRE2's spelling of it.
class Rewriter {
 public:
  explicit Rewriter(std::string_view pattern) : in_(pattern) {}

  Result<std::string> Run() {
    while (at_ < in_.size()) {
      char c = in_[at_];
      if (c == '\\') {
        LORRY_TRY(Escape());
      } else if (in_class_) {
        LORRY_TRY(InClass(c));
      } else if (c == '[') {
        OpenClass();
      } else if (c == '{') {
        LORRY_TRY(Interval());
      } else {
        Take(1);
      }
    }
    if (in_class_) return Fault("a character class is not closed");
    return std::move(out_);
  }

 private:
  void Take(size_t n) {
    out_ += in_.substr(at_, n);
    at_ += n;
  }
  Error Fault(std::string what) const {
    return MakeError(ErrorCode::kData, fmt::format("regular expression, at byte {}: {}", at_, what));
  }
  Error Unsupported(std::string_view what) const {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("regular expression, at byte {}: {} is not in this version", at_, what));
  }

  void OpenClass() {
    in_class_ = true;
    Take(1);
    if (at_ < in_.size() && in_[at_] == '^') Take(1);
    if (at_ < in_.size() && in_[at_] == ']') {
      out_ += '\\';
      Take(1);
    }
  }

  Status InClass(char c) {
    if (c == '[') return Unsupported("a class inside a class");
    if (in_.substr(at_, 2) == "&&") return Unsupported("an intersection of classes");
    if (c == ']') in_class_ = false;
    Take(1);
    return OkStatus();
  }

  // {n,m}: a '+' behind it repeats the group in Oniguruma and would be possessive in PCRE2.
  Status Interval() {
    size_t close = in_.find('}', at_);
    bool digits = close != std::string_view::npos && close > at_ + 1;
    for (size_t i = at_ + 1; digits && i < close; ++i) digits = (in_[i] >= '0' && in_[i] <= '9') || in_[i] == ',';
    if (digits && in_.substr(close + 1, 1) == "+") return Unsupported("a '+' behind an interval");
    Take(digits ? close + 1 - at_ : 1);
    return OkStatus();
  }

  Status Escape() {
    if (at_ + 1 >= in_.size()) return Fault("the pattern ends in a backslash");
    char c = in_[at_ + 1];
    if (c == 'p' || c == 'P') return Property(c == 'P');
    if (c == 's' || c == 'S') {
      if (in_class_) {
        out_ += c == 's' ? kSpaces : kNotSpaces;
      } else {
        out_ += fmt::format("[{}{}]", c == 'S' ? "^" : "", kSpaces);
      }
      at_ += 2;
      return OkStatus();
    }
    if (c == 'd' || c == 'D') return Members("Nd", c == 'D', 2);
    constexpr std::string_view kSame = "rntfaexubBAzZ";  // spelled alike in both
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter && kSame.find(c) == std::string_view::npos) return Unsupported(fmt::format("\\{}", c));
    if (c == 'u') return CodeUnit();
    Take(2);
    return OkStatus();
  }

  // \uHHHH
  Status CodeUnit() {
    std::string_view hex = in_.substr(at_ + 2, 4);
    if (hex.size() != 4 || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      return Fault("\\u needs four hexadecimal digits");
    }
    out_ += fmt::format("\\x{{{}}}", hex);
    at_ += 6;
    return OkStatus();
  }

  Status Property(bool negated) {
    size_t close = in_.find('}', at_);
    if (in_.substr(at_ + 2, 1) != "{" || close == std::string_view::npos) return Fault("\\p without {NAME}");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    return Members(name, negated, close + 1 - at_);
  }

  Status Members(std::string_view name, bool negated, size_t length) {
    auto additions = UnicodeAdditions(name);
    if (!additions) return Unsupported(fmt::format("\\p{{{}}}", name));
    if (in_class_ && negated) return Unsupported("a negated property inside a class");
    std::string members = PropertyMembers(name, *additions);
    out_ += in_class_ ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
    at_ += length;
    return OkStatus();
  }

  std::string_view in_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> RewriteForPcre2(std::string_view pattern) { return Rewriter(pattern).Run(); }

struct UnicodeRegex::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  Code() = default;
  Code(const Code&) = delete;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

Result<UnicodeRegex> UnicodeRegex::Compile(std::string_view pattern) {
  constexpr size_t kMaxPattern = 64 << 10;
  if (pattern.size() > kMaxPattern) return MakeError(ErrorCode::kData, "a regular expression of more than 64 KiB");
  LORRY_ASSIGN_OR_RETURN(std::string rewritten, RewriteForPcre2(pattern));
  int code = 0;
  size_t place = 0;
  auto compiled = std::make_shared<Code>();
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &place, nullptr);
  if (compiled->code == nullptr) {
    std::array<PCRE2_UCHAR, 160> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return MakeError(ErrorCode::kData, fmt::format("regular expression {}: {}", pattern, reinterpret_cast<char*>(text.data())));
  }
  compiled->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(compiled->context, kMatchLimit);
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // where it fails, matching goes without
  return UnicodeRegex(std::move(compiled));
}

Result<std::optional<UnicodeRegex::Match>> UnicodeRegex::Find(std::string_view text, size_t from) const {
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  thread_local std::unique_ptr<pcre2_match_data, Free> found(pcre2_match_data_create(1, nullptr));
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int rc = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, found.get(), code_->context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, found.get(), code_->context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return std::optional<Match>();
  if (rc < 0) return MakeError(ErrorCode::kData, "a regular expression of the tokenizer runs past its limit on this text");
  const size_t* place = pcre2_get_ovector_pointer(found.get());
  return std::optional<Match>(Match{place[0], place[1]});
}

char32_t NextCodePoint(std::string_view text, size_t& offset) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(offset);
  if (lead < 0x80) return text[offset++];
  int more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  char32_t c = lead & (0x3F >> more);
  for (int i = 1; i <= more; ++i) c = c << 6 | (byte(offset + i) & 0x3F);
  offset += more + 1;
  return c;
}

void AppendUtf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr unsigned char kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(kLead[more] | c >> (6 * more));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | (c >> (6 * i) & 0x3F));
}

namespace {

// The length of the character that begins at `at`, or 0; then `bad` is the length of the maximal broken part.
size_t CharacterLength(std::string_view s, size_t at, size_t& bad) {
  auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0; };
  unsigned char lead = byte(at);
  bad = 1;
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    unsigned char c = byte(at + i);
    if (at + i >= s.size() || c < low || c > high) {
      bad = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

}  // namespace

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0, bad = 0; at < bytes.size();) {
    if (size_t length = CharacterLength(bytes, at, bad); length > 0) {
      out += bytes.substr(at, length);
      at += length;
    } else {
      out += "\xEF\xBF\xBD";
      at += bad;
    }
  }
  return out;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

}  // namespace lorry
