#include "model/format/text_normalizer.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>
#include <utf8proc.h>
#include <nlohmann/json.hpp>

#include "model/format/unicode_additions.h"

namespace lorry {
namespace {

constexpr int kMaxDepth = 16;

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Characters that utf8proc orders or composes and the `tokenizers` package, whose normalizer has the Unicode of 2016, takes as
// they stand: found by normalizing every character of a combining class beside marks of other classes with both.
constexpr CodePointRange kNotNormalized[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},
    {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF},
};

bool IsNotNormalized(char32_t c) {
  return c >= kNotNormalized[0].first && std::any_of(std::begin(kNotNormalized), std::end(kNotNormalized),
                                                     [&](const CodePointRange& r) { return c >= r.first && c <= r.last; });
}

// REQUIRES: valid UTF-8.
std::string WholeForm(std::string_view text, unsigned options) {
  utf8proc_uint8_t* out = nullptr;
  utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &out, static_cast<utf8proc_option_t>(options));
  if (size < 0) return std::string(text);
  std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(out, std::free);
  return std::string(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
}

// The form of each stretch between characters that are taken as they stand.
std::string UnicodeForm(std::string_view text, unsigned options) {
  std::string out;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!IsNotNormalized(NextCodePoint(text, at))) continue;
    out += WholeForm(text.substr(done, begin - done), options);
    out += text.substr(begin, at - begin);
    done = at;
  }
  return out + WholeForm(text.substr(done), options);
}

std::string StripSpace(std::string_view text, bool left, bool right) {
  size_t begin = 0, end = 0;
  bool seen = false;
  for (size_t at = 0; at < text.size();) {
    size_t start = at;
    if (IsWhiteSpace(NextCodePoint(text, at))) continue;
    if (!seen) begin = start;
    seen = true;
    end = at;
  }
  if (!seen) begin = end = 0;
  if (!left) begin = 0;
  if (!right) end = text.size();
  if (!seen && (left || right)) return "";
  return std::string(text.substr(begin, end - begin));
}

std::string TextOf(const nlohmann::json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

Result<TextPattern> ReadTextPattern(const nlohmann::json& pattern, const std::string& where) {
  TextPattern out;
  if (pattern.is_object() && pattern.size() == 1) {
    const std::string& kind = pattern.begin().key();
    const nlohmann::json& text = pattern.begin().value();
    if (text.is_string() && kind == "String") {
      out.literal = text.get<std::string>();
      if (!out.literal.empty()) return out;
    } else if (text.is_string() && kind == "Regex") {
      LORRY_ASSIGN_OR_RETURN(out.regex, UnicodeRegex::Compile(text.get_ref<const std::string&>()));
      return out;
    }
  }
  return MakeError(ErrorCode::kData, where + ": {\"String\": TEXT} or {\"Regex\": PATTERN} is expected");
}

Result<TextNormalizer> TextNormalizer::FromJson(const nlohmann::json& normalizer) {
  TextNormalizer out;
  LORRY_TRY(out.Read(normalizer, 0));
  return out;
}

Status TextNormalizer::Read(const nlohmann::json& normalizer, int depth) {
  if (normalizer.is_null()) return OkStatus();
  if (!normalizer.is_object() || depth > kMaxDepth) return MakeError(ErrorCode::kData, "normalizer: an object is expected");
  const std::string type = TextOf(normalizer, "type");
  if (type == "Sequence") {
    auto list = normalizer.find("normalizers");
    if (list == normalizer.end() || !list->is_array()) {
      return MakeError(ErrorCode::kData, "normalizer.normalizers: a list is expected");
    }
    for (const auto& step : *list) LORRY_TRY(Read(step, depth + 1));
    return OkStatus();
  }
  if (type == "NFC") {
    steps_.push_back({Kind::kNfc, {}, ""});
  } else if (type == "NFD") {
    steps_.push_back({Kind::kNfd, {}, ""});
  } else if (type == "NFKC") {
    steps_.push_back({Kind::kNfkc, {}, ""});
  } else if (type == "NFKD") {
    steps_.push_back({Kind::kNfkd, {}, ""});
  } else if (type == "Prepend") {
    steps_.push_back({Kind::kPrepend, {}, TextOf(normalizer, "prepend")});
  } else if (type == "Replace") {
    Step step{Kind::kReplace, {}, TextOf(normalizer, "content")};
    LORRY_ASSIGN_OR_RETURN(step.pattern, ReadTextPattern(normalizer.value("pattern", nlohmann::json()), "normalizer.pattern"));
    steps_.push_back(std::move(step));
  } else if (type == "Strip") {
    auto flag = [&](const char* key) { return !normalizer.contains(key) || normalizer[key] != false; };
    steps_.push_back({Kind::kStrip, {}, "", flag("strip_left"), flag("strip_right")});
  } else {
    return MakeError(ErrorCode::kUnsupported, fmt::format("normalizer {} is not in this version", nlohmann::json(type).dump()));
  }
  return OkStatus();
}

Result<std::string> TextNormalizer::Apply(std::string_view text) const {
  std::string out(text);
  constexpr unsigned kBase = UTF8PROC_STABLE;
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kNfc:
        if (!IsAscii(out)) out = UnicodeForm(out, kBase | UTF8PROC_COMPOSE);
        break;
      case Kind::kNfd:
        if (!IsAscii(out)) out = UnicodeForm(out, kBase | UTF8PROC_DECOMPOSE);
        break;
      case Kind::kNfkc:
        if (!IsAscii(out)) out = UnicodeForm(out, kBase | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
        break;
      case Kind::kNfkd:
        if (!IsAscii(out)) out = UnicodeForm(out, kBase | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
        break;
      case Kind::kPrepend:
        if (!out.empty()) out = step.content + out;
        break;
      case Kind::kStrip:
        out = StripSpace(out, step.left, step.right);
        break;
      case Kind::kReplace: {
        LORRY_ASSIGN_OR_RETURN(out, ReplaceAll(out, step.pattern, step.content));
        break;
      }
    }
  }
  return out;
}

Result<std::string> ReplaceAll(std::string_view text, const TextPattern& pattern, std::string_view with) {
  std::string out;
  size_t done = 0;
  for (size_t from = 0; from <= text.size();) {
    size_t begin = 0, end = 0;
    if (pattern.regex) {
      LORRY_ASSIGN_OR_RETURN(auto match, pattern.regex->Find(text, from));
      if (!match) break;
      begin = match->begin;
      end = match->end;
    } else {
      begin = text.find(pattern.literal, from);
      if (begin == std::string_view::npos) break;
      end = begin + pattern.literal.size();
    }
    from = end;
    if (begin == end) {  // an empty match: on by one character, so that the search ends
      if (from < text.size()) {
        NextCodePoint(text, from);
      } else {
        ++from;
      }
      continue;
    }
    out += text.substr(done, begin - done);
    out += with;
    done = end;
  }
  out += text.substr(done);
  return out;
}

}  // namespace lorry
