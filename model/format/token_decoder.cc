#include "model/format/token_decoder.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/format/byte_level.h"

namespace lorry {
namespace {

constexpr int kMaxDepth = 16;

std::string TextOf(const nlohmann::json& json, const char* key) {
  auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

int64_t CountOf(const nlohmann::json& json, const char* key) {
  auto it = json.find(key);
  return it != json.end() && it->is_number_integer() ? std::min<int64_t>(it->get<int64_t>(), 1 << 20) : 0;
}

std::string JoinBytes(const std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    std::optional<std::string> unspelled = UnspellBytes(token);
    bytes += unspelled ? *unspelled : token;
  }
  return ReplaceInvalidUtf8(bytes);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "<0xHH>" as its byte, else -1.
int FallbackByte(const std::string& token) {
  if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return -1;
  int high = HexDigit(token[3]), low = HexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A run of byte tokens is the text it spells, or, where it spells none, one U+FFFD a byte.
std::vector<std::string> JoinFallbackBytes(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string run;
  auto flush = [&] {
    if (run.empty()) return;
    if (IsValidUtf8(run)) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    if (int byte = FallbackByte(token); byte >= 0) {
      run += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(token);
  }
  flush();
  return out;
}

std::string StripCharacter(const std::string& token, const std::string& content, int64_t start, int64_t stop) {
  std::string_view rest = token;
  for (int64_t i = 0; i < start && !content.empty() && rest.substr(0, content.size()) == content; ++i) {
    rest.remove_prefix(content.size());
  }
  for (int64_t i = 0;
       i < stop && !content.empty() && rest.size() >= content.size() && rest.substr(rest.size() - content.size()) == content;
       ++i) {
    rest.remove_suffix(content.size());
  }
  return std::string(rest);
}

// The blanks that the replacement stands for; those of the first token were put there where `prepended`.
std::string MetaspaceToBlanks(const std::string& token, const std::string& replacement, bool drop) {
  std::string out;
  for (size_t at = 0; at < token.size();) {
    if (token.compare(at, replacement.size(), replacement) == 0) {
      if (!drop) out += ' ';
      at += replacement.size();
    } else {
      out += token[at++];
    }
  }
  return out;
}

}  // namespace

Result<TokenDecoder> TokenDecoder::FromJson(const nlohmann::json& decoder) {
  TokenDecoder out;
  LORRY_TRY(out.Read(decoder, 0));
  return out;
}

Status TokenDecoder::Read(const nlohmann::json& json, int depth) {
  if (json.is_null()) return OkStatus();
  if (!json.is_object() || depth > kMaxDepth) return MakeError(ErrorCode::kData, "decoder: an object is expected");
  const std::string type = TextOf(json, "type");
  if (type == "Sequence") {
    auto list = json.find("decoders");
    if (list == json.end() || !list->is_array()) return MakeError(ErrorCode::kData, "decoder.decoders: a list is expected");
    for (const auto& step : *list) LORRY_TRY(Read(step, depth + 1));
    return OkStatus();
  }
  if (type == "ByteLevel") {
    steps_.push_back({Kind::kByteLevel, {}, ""});
  } else if (type == "ByteFallback") {
    steps_.push_back({Kind::kByteFallback, {}, ""});
  } else if (type == "Fuse") {
    steps_.push_back({Kind::kFuse, {}, ""});
  } else if (type == "Replace") {
    Step step{Kind::kReplace, {}, TextOf(json, "content")};
    LORRY_ASSIGN_OR_RETURN(step.pattern, ReadTextPattern(json.value("pattern", nlohmann::json()), "decoder.pattern"));
    steps_.push_back(std::move(step));
  } else if (type == "Strip") {
    steps_.push_back({Kind::kStrip, {}, TextOf(json, "content"), CountOf(json, "start"), CountOf(json, "stop")});
  } else if (type == "Metaspace") {
    Step step{Kind::kMetaspace, {}, TextOf(json, "replacement")};
    if (step.content.empty()) return MakeError(ErrorCode::kData, "decoder.replacement: a character is expected");
    const std::string scheme = TextOf(json, "prepend_scheme");
    step.prepended = scheme.empty() ? json.value("add_prefix_space", nlohmann::json(true)) != false : scheme != "never";
    steps_.push_back(std::move(step));
  } else {
    return MakeError(ErrorCode::kUnsupported, fmt::format("decoder {} is not in this version", nlohmann::json(type).dump()));
  }
  return OkStatus();
}

void TokenDecoder::Apply(const Step& step, std::vector<std::string>& tokens) {
  auto join = [&] {
    std::string all;
    for (const std::string& token : tokens) all += token;
    return all;
  };
  switch (step.kind) {
    case Kind::kByteLevel:
      tokens = {JoinBytes(tokens)};
      return;
    case Kind::kByteFallback:
      tokens = JoinFallbackBytes(tokens);
      return;
    case Kind::kFuse:
      tokens = {join()};
      return;
    case Kind::kReplace:
      for (std::string& token : tokens) {
        auto replaced = ReplaceAll(token, step.pattern, step.content);
        if (replaced.ok()) token = std::move(*replaced);
      }
      return;
    case Kind::kStrip:
      for (std::string& token : tokens) token = StripCharacter(token, step.content, step.start, step.stop);
      return;
    case Kind::kMetaspace:
      for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = MetaspaceToBlanks(tokens[i], step.content, i == 0 && step.prepended);
      return;
  }
}

std::string TokenDecoder::BytesBehindOthers(const std::string& token) const {
  const bool fallback =
      std::any_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.kind == Kind::kByteFallback; });
  if (const int byte = fallback ? FallbackByte(token) : -1; byte >= 0) return std::string(1, static_cast<char>(byte));
  const std::string before = "x";
  return Decode({before, token}).substr(Decode({before}).size());
}

std::string TokenDecoder::Decode(std::vector<std::string> tokens) const {
  for (const Step& step : steps_) Apply(step, tokens);
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && steps_.empty()) out += ' ';
    out += tokens[i];
  }
  return out;
}

}  // namespace lorry
