#include "model/format/pre_tokenizer.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lorry {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr int kMaxDepth = 16;

bool FlagOr(const nlohmann::json& json, const char* key, bool otherwise) {
  auto it = json.find(key);
  return it != json.end() && it->is_boolean() ? it->get<bool>() : otherwise;
}

std::string TextOf(const nlohmann::json& json, const char* key) {
  auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string_view Joined(std::string_view a, std::string_view b) { return {a.data(), a.size() + b.size()}; }

}  // namespace

Result<PreTokenizer> PreTokenizer::FromJson(const nlohmann::json& pre_tokenizer) {
  PreTokenizer out;
  LORRY_TRY(out.Read(pre_tokenizer, 0));
  return out;
}

Status PreTokenizer::Read(const nlohmann::json& json, int depth) {
  if (json.is_null()) return OkStatus();
  if (!json.is_object() || depth > kMaxDepth) return MakeError(ErrorCode::kData, "pre_tokenizer: an object is expected");
  if (byte_level_) return MakeError(ErrorCode::kUnsupported, "pre_tokenizer: a step behind ByteLevel is not in this version");
  const std::string type = TextOf(json, "type");
  if (type == "Sequence") {
    auto list = json.find("pretokenizers");
    if (list == json.end() || !list->is_array()) {
      return MakeError(ErrorCode::kData, "pre_tokenizer.pretokenizers: a list is expected");
    }
    for (const auto& step : *list) LORRY_TRY(Read(step, depth + 1));
    return OkStatus();
  }
  if (type == "Split") return ReadSplit(json);
  if (type == "ByteLevel") return ReadByteLevel(json);
  if (type == "Metaspace") return ReadMetaspace(json);
  if (type == "Digits") {
    return AddPattern(R"(\p{Numeric})", FlagOr(json, "individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "WhitespaceSplit") return AddPattern(R"(\s)", Behavior::kRemoved);
  return MakeError(ErrorCode::kUnsupported, fmt::format("pre_tokenizer {} is not in this version", nlohmann::json(type).dump()));
}

Status PreTokenizer::AddPattern(const char* pattern, Behavior behavior) {
  Step step;
  LORRY_ASSIGN_OR_RETURN(step.pattern.regex, UnicodeRegex::Compile(pattern));
  step.behavior = behavior;
  steps_.push_back(std::move(step));
  return OkStatus();
}

Status PreTokenizer::ReadSplit(const nlohmann::json& json) {
  Step step;
  LORRY_ASSIGN_OR_RETURN(step.pattern, ReadTextPattern(json.value("pattern", nlohmann::json()), "pre_tokenizer.pattern"));
  const std::string behavior = TextOf(json, "behavior");
  if (behavior == "Removed") {
    step.behavior = Behavior::kRemoved;
  } else if (behavior == "Isolated") {
    step.behavior = Behavior::kIsolated;
  } else if (behavior == "MergedWithPrevious") {
    step.behavior = Behavior::kMergedWithPrevious;
  } else if (behavior == "MergedWithNext") {
    step.behavior = Behavior::kMergedWithNext;
  } else if (behavior == "Contiguous") {
    step.behavior = Behavior::kContiguous;
  } else {
    return MakeError(ErrorCode::kData, fmt::format("pre_tokenizer.behavior: {} is not known", nlohmann::json(behavior).dump()));
  }
  step.invert = FlagOr(json, "invert", false);
  steps_.push_back(std::move(step));
  return OkStatus();
}

Status PreTokenizer::ReadByteLevel(const nlohmann::json& json) {
  if (FlagOr(json, "add_prefix_space", true)) {
    Step step;
    step.kind = Kind::kPrefixSpace;
    steps_.push_back(std::move(step));
  }
  if (FlagOr(json, "use_regex", true)) LORRY_TRY(AddPattern(kGpt2Pattern, Behavior::kIsolated));
  byte_level_ = true;
  return OkStatus();
}

Status PreTokenizer::ReadMetaspace(const nlohmann::json& json) {
  Step step;
  step.kind = Kind::kMetaspace;
  step.replacement = TextOf(json, "replacement");
  if (step.replacement.empty()) return MakeError(ErrorCode::kData, "pre_tokenizer.replacement: a character is expected");
  std::string scheme = TextOf(json, "prepend_scheme");
  if (scheme.empty()) scheme = FlagOr(json, "add_prefix_space", true) ? "always" : "never";
  if (scheme == "always") {
    step.prepend = Prepend::kAlways;
  } else if (scheme == "first") {
    step.prepend = Prepend::kFirst;
  } else if (scheme != "never") {
    return MakeError(ErrorCode::kData, "pre_tokenizer.prepend_scheme: always, first or never is expected");
  }
  step.split = FlagOr(json, "split", true);
  step.pattern.literal = step.replacement;
  step.behavior = Behavior::kMergedWithNext;
  steps_.push_back(std::move(step));
  return OkStatus();
}

Status PreTokenizer::Split(std::string_view text, bool at_start, std::deque<std::string>& arena,
                           std::vector<std::string_view>& words) const {
  std::vector<std::string_view> now{text}, next;
  for (const Step& step : steps_) {
    next.clear();
    for (size_t i = 0; i < now.size(); ++i) {
      if (step.kind == Kind::kPattern) {
        LORRY_TRY(SplitWord(step, now[i], next));
      } else if (step.kind == Kind::kMetaspace) {
        LORRY_TRY(Metaspace(step, now[i], at_start && i == 0, arena, next));
      } else if (now[i].substr(0, 1) == " ") {
        next.push_back(now[i]);
      } else {
        next.push_back(arena.emplace_back(" " + std::string(now[i])));
      }
    }
    now.swap(next);
  }
  words.insert(words.end(), now.begin(), now.end());
  return OkStatus();
}

Status PreTokenizer::Metaspace(const Step& step, std::string_view word, bool first, std::deque<std::string>& arena,
                               std::vector<std::string_view>& out) const {
  std::string replaced;
  for (char c : word) {
    if (c == ' ') {
      replaced += step.replacement;
    } else {
      replaced += c;
    }
  }
  bool prepend = step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && first);
  if (prepend && replaced.compare(0, step.replacement.size(), step.replacement) != 0) replaced = step.replacement + replaced;
  std::string_view kept = arena.emplace_back(std::move(replaced));
  if (step.split) return SplitWord(step, kept, out);
  out.push_back(kept);
  return OkStatus();
}

Status PreTokenizer::SplitWord(const Step& step, std::string_view word, std::vector<std::string_view>& out) const {
  std::vector<Stretch> stretches;
  size_t done = 0;
  auto put = [&](size_t begin, size_t end, bool match) {
    if (begin < end) stretches.push_back({word.substr(begin, end - begin), match != step.invert});
  };
  for (size_t from = 0; from < word.size();) {
    UnicodeRegex::Match match;
    if (step.pattern.regex) {
      LORRY_ASSIGN_OR_RETURN(auto found, step.pattern.regex->Find(word, from));
      if (!found) break;
      match = *found;
    } else {
      match.begin = word.find(step.pattern.literal, from);
      if (match.begin == std::string_view::npos) break;
      match.end = match.begin + step.pattern.literal.size();
    }
    if (match.begin == match.end) {  // nothing to cut here: on by one character
      from = match.end;
      if (from < word.size()) NextCodePoint(word, from);
      continue;
    }
    put(done, match.begin, false);
    put(match.begin, match.end, true);
    from = done = match.end;
  }
  put(done, word.size(), false);
  Join(step.behavior, stretches, out);
  return OkStatus();
}

void PreTokenizer::Join(Behavior behavior, const std::vector<Stretch>& stretches, std::vector<std::string_view>& out) {
  const size_t begin = out.size();
  bool previous = false;
  switch (behavior) {
    case Behavior::kIsolated:
      for (const Stretch& s : stretches) out.push_back(s.text);
      return;
    case Behavior::kRemoved:
      for (const Stretch& s : stretches)
        if (!s.match) out.push_back(s.text);
      return;
    case Behavior::kContiguous:
      for (const Stretch& s : stretches) {
        if (out.size() > begin && s.match == previous) {
          out.back() = Joined(out.back(), s.text);
        } else {
          out.push_back(s.text);
        }
        previous = s.match;
      }
      return;
    case Behavior::kMergedWithPrevious:
      for (const Stretch& s : stretches) {
        if (s.match && !previous && out.size() > begin) {
          out.back() = Joined(out.back(), s.text);
        } else {
          out.push_back(s.text);
        }
        previous = s.match;
      }
      return;
    case Behavior::kMergedWithNext:
      for (auto s = stretches.rbegin(); s != stretches.rend(); ++s) {
        if (s->match && !previous && out.size() > begin) {
          out.back() = Joined(s->text, out.back());
        } else {
          out.push_back(s->text);
        }
        previous = s->match;
      }
      std::reverse(out.begin() + begin, out.end());
      return;
  }
}

}  // namespace lorry
