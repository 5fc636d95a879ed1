#include "configs/field_reader.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "configs/features.h"
#include "configs/key_names.h"
#include "configs/yaml_scalar.h"

namespace lorry {

using Kind = YamlNode::Kind;

namespace {

std::string Shown(const YamlNode& value) {
  if (value.kind == Kind::kText) return fmt::format("text \"{}\"", EscapeControl(value.text, 60));
  if (value.kind == Kind::kNumber || value.kind == Kind::kBool) return EscapeControl(value.text, 60);
  return std::string(KindName(value.kind));
}

// "1..1000", "x >= 1", "0 < x <= 1".
std::string RangeText(const FieldRule& rule, bool whole) {
  const bool low = std::isfinite(rule.min);
  const bool high = std::isfinite(rule.max);
  if (whole && low && high) return fmt::format("{:.0f}..{:.0f}", rule.min, rule.max);
  std::string text;
  if (low && high) text = fmt::format("{} {} ", rule.min, rule.above ? "<" : "<=");
  text += "x";
  if (high) return text + fmt::format(" {} {}", rule.below ? "<" : "<=", rule.max);
  return text + fmt::format(" {} {}", rule.above ? ">" : ">=", rule.min);
}

std::string QuoteHint(const YamlNode& value, bool wants_number) {
  if (wants_number && value.kind == Kind::kText && IsJsonNumber(value.text)) return "take the quotes away";
  if (!wants_number && (value.kind == Kind::kNumber || value.kind == Kind::kBool)) return "put it in quotes";
  return "";
}

}  // namespace

void ReadContext::Fail(const std::string& key, SourcePosition at, const std::string& origin, std::string message,
                       std::string hint) {
  Error error = MakeError(ErrorCode::kSpec, std::move(message), std::move(hint));
  error.file = origin.empty() ? file : origin;
  if (origin.empty()) {
    error.line = at.line;
    error.column = at.column;
  }
  error.key = key;
  errors.push_back(std::move(error));
}

void ReadContext::FailUnbuilt(const std::string& key, SourcePosition at, const std::string& origin, std::string hint) {
  Fail(key, at, origin, "not in this version", std::move(hint));
  errors.back().code = ErrorCode::kUnsupported;
}

void ReadContext::FailAt(const std::string& key, std::string message, std::string hint) {
  for (std::string place = key;;) {
    if (const auto found = positions.find(place); found != positions.end()) {
      const auto origin = origins.find(place);
      return Fail(key, found->second, origin == origins.end() ? "" : origin->second, std::move(message), std::move(hint));
    }
    const size_t dot = place.rfind('.');
    if (dot == std::string::npos) break;
    place.resize(dot);
  }
  Fail(key, {from_json ? 0 : 1, from_json ? 0 : 1}, "", std::move(message), std::move(hint));
}

FieldReader::FieldReader(ReadContext& context, const YamlNode* node, std::string path, SourcePosition at)
    : context_(context), node_(node), path_(std::move(path)), at_(at) {}

std::string FieldReader::PathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

const YamlNode* FieldReader::Look(std::string_view key) const {
  if (node_ == nullptr) return nullptr;
  const YamlMember* member = node_->Find(key);
  return member == nullptr ? nullptr : member->value.get();
}

SourcePosition FieldReader::PositionOf(std::string_view key) const {
  const YamlMember* member = node_ == nullptr ? nullptr : node_->Find(key);
  return member == nullptr ? at_ : member->at;
}

const YamlNode* FieldReader::Take(std::string_view key, const FieldRule& rule) {
  Known(key);
  const YamlNode* value = Look(key);
  const std::string path = PathOf(key);
  if (value == nullptr) {
    if (rule.required) context_.Fail(path, at_, "", "missing", "this key is required");
    return nullptr;
  }
  context_.positions[path] = value->at;
  if (!value->origin.empty()) context_.origins[path] = value->origin;
  return value;
}

bool FieldReader::Expect(const std::string& path, const YamlNode& value, Kind kind, std::string_view what) {
  if (value.refused) return false;
  if (value.kind == kind) return true;
  if (value.kind == Kind::kNull) {
    context_.Fail(path, value.at, value.origin, "has no value", fmt::format("{} is expected", what));
  } else {
    context_.Fail(path, value.at, value.origin, fmt::format("expected {}, found {}", what, Shown(value)),
                  kind == Kind::kText || kind == Kind::kNumber ? QuoteHint(value, kind == Kind::kNumber) : "");
  }
  return false;
}

bool FieldReader::InRange(const std::string& path, const YamlNode& value, double number, const FieldRule& rule, bool whole) {
  const bool low = rule.above ? number > rule.min : number >= rule.min;
  const bool high = rule.below ? number < rule.max : number <= rule.max;
  if (low && high) return true;
  std::string message = fmt::format("{} is outside {}", EscapeControl(value.text, 60), RangeText(rule, whole));
  if (rule.suggest_e4 && number > 1 && number < 10) message += fmt::format(" (did you mean {:.1f}e-4?)", number);
  context_.Fail(path, value.at, value.origin, std::move(message));
  return false;
}

std::optional<std::string> FieldReader::TextOf(const std::string& path, const YamlNode& value, const FieldRule& rule) {
  if (!Expect(path, value, Kind::kText, "text")) return std::nullopt;
  Result<std::string> text = ApplyForm(rule.form, value.text, context_.folder, /*look=*/!context_.from_json);
  if (!text.ok()) {
    context_.Fail(path, value.at, value.origin, text.error().message, text.error().hint);
    return std::nullopt;
  }
  return *text;
}

void FieldReader::Field(std::string_view key, std::string& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  if (value == nullptr) return;
  if (auto text = TextOf(PathOf(key), *value, rule)) out = std::move(*text);
}

void FieldReader::Field(std::string_view key, int64_t& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr || !Expect(path, *value, Kind::kNumber, "a whole number")) return;
  const size_t digits = value->text[0] == '-' ? 1 : 0;
  if (value->text.find_first_not_of("0123456789", digits) != std::string::npos) {
    return context_.Fail(path, value->at, value->origin,
                         fmt::format("expected a whole number, found {}", EscapeControl(value->text, 60)));
  }
  if (!InRange(path, *value, std::strtod(value->text.c_str(), nullptr), rule, true)) return;
  errno = 0;
  const long long number = std::strtoll(value->text.c_str(), nullptr, 10);
  if (errno == ERANGE) {
    return context_.Fail(path, value->at, value->origin, fmt::format("{} is too large", EscapeControl(value->text, 60)));
  }
  out = number;
}

void FieldReader::Field(std::string_view key, double& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr || !Expect(path, *value, Kind::kNumber, "a number")) return;
  const double number = std::strtod(value->text.c_str(), nullptr);
  if (!std::isfinite(number)) {
    return context_.Fail(path, value->at, value->origin, fmt::format("{} is too large", EscapeControl(value->text, 60)));
  }
  if (InRange(path, *value, number, rule, false)) out = number;
}

void FieldReader::Field(std::string_view key, bool& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  if (value == nullptr || !Expect(PathOf(key), *value, Kind::kBool, "true or false")) return;
  const bool given = value->text == "true";
  // A switch that is not built may be named as long as it stays where it is.
  if (given != out && !IsBuilt(PathOf(key))) return context_.FailUnbuilt(PathOf(key), PositionOf(key), value->origin);
  out = given;
}

template <class T, class Parse>
void FieldReader::Unit(std::string_view key, T& out, const FieldRule& rule, std::string_view what, Parse parse) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr || !Expect(path, *value, Kind::kText, what)) return;
  Result<T> parsed = parse(value->text);
  if (!parsed.ok()) {
    context_.Fail(path, value->at, value->origin, fmt::format("\"{}\" is not {}", EscapeControl(value->text, 60), what));
  } else {
    out = *parsed;
  }
}

void FieldReader::Field(std::string_view key, Millis& out, const FieldRule& rule) {
  Unit(key, out, rule, "a duration: a whole number above 0 and s, m, h or d, such as 90s or 2h",
       [](const std::string& text) -> Result<Millis> {
         LORRY_ASSIGN_OR_RETURN(const Millis duration, ParseDuration(text));
         if (duration.count() <= 0) return MakeError(ErrorCode::kSpec, "not above 0");
         return duration;
       });
}

void FieldReader::Field(std::string_view key, Bytes& out, const FieldRule& rule) {
  Unit(key, out, rule, "a size: a whole number and KB, MB, GB or TB, such as 24GB", [](const std::string& text) -> Result<Bytes> {
    LORRY_ASSIGN_OR_RETURN(const Bytes size, ParseSize(text));
    if (size.count() <= 0) return MakeError(ErrorCode::kSpec, "not above 0");
    return size;
  });
}

void FieldReader::Field(std::string_view key, Instant& out, const FieldRule& rule) {
  Unit(key, out, rule, "a UTC date or time, such as 2026-01-31 or 2026-01-31T12:00:00Z",
       [](const std::string& text) { return ParseUtc(text); });
}

void FieldReader::Field(std::string_view key, UnitPrice& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr) return;
  if (!(context_.from_json && value->kind == Kind::kText) && !Expect(path, *value, Kind::kNumber, "dollars")) return;
  Result<UnitPrice> price = ParseUnitPrice(value->text);
  if (!price.ok() || price->e9() < 0) {
    return context_.Fail(path, value->at, value->origin,
                         fmt::format("{} is not an amount of dollars", EscapeControl(value->text, 60)),
                         "a decimal number from 0 on, with at most 9 decimals and no exponent");
  }
  out = *price;
}

void FieldReader::Field(std::string_view key, Dollars& out, const FieldRule& rule) {
  UnitPrice amount;
  const size_t before = context_.errors.size();
  Field(key, amount, rule);
  if (context_.errors.size() == before && Look(key) != nullptr) out = amount * Quantity::FromE9(1'000'000'000);
}

void FieldReader::Field(std::string_view key, std::vector<std::string>& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr) return;
  if (value->kind == Kind::kText && !value->refused && !rule.lone_word.empty()) {
    if (value->text == rule.lone_word) {
      out = {value->text};
      return;
    }
    return context_.Fail(path, value->at, value->origin,
                         fmt::format("expected a list or the word {}, found {}", rule.lone_word, Shown(*value)));
  }
  if (!Expect(path, *value, Kind::kList, "a list")) return;
  if (value->items.size() < rule.min_items) return context_.Fail(path, value->at, value->origin, "the list is empty");
  std::vector<std::string> read;
  for (size_t i = 0; i < value->items.size(); ++i) {
    const YamlNode& item = *value->items[i];
    const std::string item_path = fmt::format("{}[{}]", path, i);
    context_.positions[item_path] = item.at;
    const std::optional<std::string> text = TextOf(item_path, item, rule);
    if (!text) continue;
    if (!IsBuilt(fmt::format("{}: {}", path, *text))) {
      context_.FailUnbuilt(item_path, item.at, item.origin, fmt::format("\"{}\" is known, but not carried out yet", *text));
    }
    read.push_back(*text);
  }
  out = std::move(read);
}

void FieldReader::Field(std::string_view key, std::map<std::string, std::string>& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr || !Expect(path, *value, Kind::kMap, "a mapping")) return;
  for (const YamlMember& member : value->members) {
    const std::string member_path = fmt::format("{}.{}", path, EscapeControl(member.key, 64));
    if (!ApplyForm(TextForm::kLine, member.key, "").ok()) {
      context_.Fail(member_path, member.at, member.value->origin, "must be one line of 1 to 256 bytes");
    } else if (const auto text = TextOf(member_path, *member.value, rule)) {
      out[member.key] = *text;
    }
  }
}

// A section of its own whose keys are the reader's to choose.
template <class Number>
void FieldReader::Numbers(std::string_view key, std::map<std::string, Number>& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr || !Expect(path, *value, Kind::kMap, "a mapping of names to numbers")) return;
  FieldReader section(context_, value, path, value->at);
  for (const YamlMember& member : value->members) {
    Number number{};
    const size_t before = context_.errors.size();
    section.Field(member.key, number, rule);
    if (context_.errors.size() == before && !member.value->refused) out[member.key] = number;
  }
}

void FieldReader::Field(std::string_view key, std::map<std::string, int64_t>& out, const FieldRule& rule) {
  Numbers(key, out, rule);
}
void FieldReader::Field(std::string_view key, std::map<std::string, double>& out, const FieldRule& rule) {
  Numbers(key, out, rule);
}

void FieldReader::Field(std::string_view key, std::map<std::string, std::vector<ScalarText>>& out, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr || !Expect(path, *value, Kind::kMap, "a mapping of keys to lists")) return;
  for (const YamlMember& member : value->members) {
    const std::string member_path = fmt::format("{}.{}", path, EscapeControl(member.key, 64));
    const YamlNode& list = *member.value;
    context_.positions[member_path] = member.at;
    if (!Expect(member_path, list, Kind::kList, "a list of values")) continue;
    if (list.items.empty()) context_.Fail(member_path, list.at, list.origin, "the list is empty");
    for (size_t i = 0; i < list.items.size(); ++i) {
      const YamlNode& item = *list.items[i];
      const std::string item_path = fmt::format("{}[{}]", member_path, i);
      context_.positions[item_path] = item.at;
      if (item.kind == Kind::kText || item.kind == Kind::kNumber || item.kind == Kind::kBool) {
        if (!item.refused) out[member.key].push_back({JsonOfYaml(item).dump()});
      } else {
        Expect(item_path, item, Kind::kText, "a number, true, false or a word");
      }
    }
  }
}

std::optional<size_t> FieldReader::Word(std::string_view key, const std::vector<std::string_view>& words, const FieldRule& rule) {
  const YamlNode* value = Take(key, rule);
  const std::string path = PathOf(key);
  if (value == nullptr) return std::nullopt;
  const std::string list = fmt::format("{}", fmt::join(words, " | "));
  if (!Expect(path, *value, Kind::kText, list)) return std::nullopt;
  const auto found = std::find(words.begin(), words.end(), value->text);
  if (found == words.end()) {
    const auto near = NearestName(value->text, {words.begin(), words.end()});
    const std::string hint = near ? fmt::format("did you mean \"{}\"?", *near) : "";
    context_.Fail(path, value->at, value->origin, fmt::format("\"{}\" is none of {}", EscapeControl(value->text, 60), list),
                  hint);
    return std::nullopt;
  }
  if (!IsBuilt(fmt::format("{}: {}", path, *found))) {
    context_.FailUnbuilt(path, value->at, value->origin, fmt::format("\"{}\" is known, but not carried out yet", *found));
    return std::nullopt;
  }
  return static_cast<size_t>(found - words.begin());
}

void FieldReader::Unbuilt(std::string_view key) {
  if (const YamlNode* value = Take(key)) context_.FailUnbuilt(PathOf(key), PositionOf(key), value->origin);
}

void FieldReader::Finish() {
  if (node_ == nullptr) return;
  for (const YamlMember& member : node_->members) {
    if (std::find(known_.begin(), known_.end(), member.key) != known_.end()) continue;
    const std::string path = PathOf(EscapeControl(member.key, 64));
    context_.Fail(path, member.at, member.value->origin, "unknown key" + KeySuggestion(path, context_.all_keys));
  }
}

}  // namespace lorry
