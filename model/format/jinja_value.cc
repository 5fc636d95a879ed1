#include "model/format/jinja_value.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <utf8proc.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "model/format/unicode_additions.h"
#include "model/format/unicode_regex.h"

namespace lorry::jinja {

const Value* Dict::Find(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Dict::Set(std::string_view key, Value value) {
  for (auto& [name, old] : items) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items.emplace_back(std::string(key), std::move(value));
}

const Value* Arguments::Get(size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  return named.Find(name);
}

int64_t Value::weight() const {
  const std::string* text = IfText();
  return text ? 1 + static_cast<int64_t>(text->size()) : weight_;
}

void Value::Hold(const Value& item) {
  depth_ = std::max(depth_, item.depth_ + 1);
  weight_ = std::min(weight_ + item.weight(), kMostWeight);
}

Value Value::OfList(List list) {
  Value out;
  out.depth_ = 1;
  for (const Value& item : list) out.Hold(item);
  out.state_ = std::make_shared<const List>(std::move(list));
  return out;
}

Value Value::OfDict(Dict dict) {
  Value out;
  out.depth_ = 1;
  for (const auto& [key, item] : dict.items) {
    out.Hold(item);
    out.weight_ = std::min(out.weight_ + static_cast<int64_t>(key.size()), kMostWeight);
  }
  out.state_ = std::make_shared<const Dict>(std::move(dict));
  return out;
}

Value Value::OfLoop(std::shared_ptr<const List> items, size_t index, int loop_depth, int items_depth) {
  Value out(State(std::make_shared<const Loop>(Loop{std::move(items), index, loop_depth})));
  out.depth_ = items_depth + 1;
  return out;
}

double Value::AsDouble() const {
  if (auto* i = If<int64_t>()) return static_cast<double>(*i);
  if (auto* b = If<bool>()) return *b ? 1 : 0;
  return *If<double>();
}

bool Value::Truthy() const {
  if (auto* b = If<bool>()) return *b;
  if (auto* i = If<int64_t>()) return *i != 0;
  if (auto* d = If<double>()) return *d != 0;
  if (auto* s = IfText()) return !s->empty();
  if (auto* l = IfList()) return !l->empty();
  if (auto* d = IfDict()) return !d->items.empty();
  return !IsUndefined() && !IsNone();
}

const char* Value::TypeName() const {
  constexpr const char* kNames[] = {"undefined", "none",   "boolean",   "whole number", "number",  "text",
                                    "list",      "object", "namespace", "loop",         "function"};
  return kNames[state_.index()];
}

bool Equal(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IfInt() && b.IfInt()) return *a.IfInt() == *b.IfInt();
    return a.AsDouble() == b.AsDouble();
  }
  if (a.IfText() && b.IfText()) return *a.IfText() == *b.IfText();
  if (a.IsNone() || a.IsUndefined()) return a.IsNone() == b.IsNone() && a.IsUndefined() == b.IsUndefined();
  if (const List *x = a.IfList(), *y = b.IfList(); x && y) {
    return x == y || std::equal(x->begin(), x->end(), y->begin(), y->end(), Equal);
  }
  if (const Dict *x = a.IfDict(), *y = b.IfDict(); x && y) {
    if (x == y) return true;
    return x->items.size() == y->items.size() && std::all_of(x->items.begin(), x->items.end(), [&](const auto& item) {
             const Value* other = y->Find(item.first);
             return other && Equal(item.second, *other);
           });
  }
  return false;
}

Result<bool> Less(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IfInt() && b.IfInt()) return *a.IfInt() < *b.IfInt();
    return a.AsDouble() < b.AsDouble();
  }
  if (a.IfText() && b.IfText()) return *a.IfText() < *b.IfText();
  if (const List *x = a.IfList(), *y = b.IfList(); x && y) {
    for (size_t i = 0; i < x->size() && i < y->size(); ++i) {
      if (!Equal((*x)[i], (*y)[i])) return Less((*x)[i], (*y)[i]);
    }
    return x->size() < y->size();
  }
  return MakeError(ErrorCode::kData, fmt::format("{} and {} cannot be compared", a.TypeName(), b.TypeName()));
}

namespace {

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", number);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

// Characters of Unicode 15, which utf8proc 2.8 has, that are new since the 14 of Python 3.11: to that they are not printable.
constexpr CodePointRange kNewerThanPython[] = {
    {0xCF3, 0xCF3},     {0xECE, 0xECE},     {0x10EFD, 0x10EFF}, {0x1123F, 0x11241}, {0x11B00, 0x11B09}, {0x11F00, 0x11F10},
    {0x11F12, 0x11F3A}, {0x11F3E, 0x11F59}, {0x1342F, 0x1342F}, {0x13440, 0x13455}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155},
    {0x1D2C0, 0x1D2D3}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E4D0, 0x1E4F9}, {0x1F6DC, 0x1F6DC},
    {0x1F774, 0x1F776}, {0x1F77B, 0x1F77F}, {0x1F7D9, 0x1F7D9}, {0x1FA75, 0x1FA77}, {0x1FA87, 0x1FA88}, {0x1FAAD, 0x1FAAF},
    {0x1FABB, 0x1FABD}, {0x1FABF, 0x1FABF}, {0x1FACE, 0x1FACF}, {0x1FADA, 0x1FADB}, {0x1FAE8, 0x1FAE8}, {0x1FAF7, 0x1FAF8},
    {0x2B739, 0x2B739}, {0x31350, 0x323AF},
};

// Python's str.isprintable().
bool IsPythonPrintable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  for (const CodePointRange& range : kNewerThanPython) {
    if (c >= range.first && c <= range.last) return false;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

// Python's repr() of a text.
std::string Quoted(std::string_view text) {
  char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    char32_t c = NextCodePoint(text, at);
    if (c == '\\' || c == static_cast<unsigned char>(quote)) out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPythonPrintable(c)) {
      out += text.substr(begin, at - begin);
    } else if (c <= 0xFF) {
      out += fmt::format("\\x{:02x}", uint32_t{c});
    } else if (c <= 0xFFFF) {
      out += fmt::format("\\u{:04x}", uint32_t{c});
    } else {
      out += fmt::format("\\U{:08x}", uint32_t{c});
    }
  }
  return out + quote;
}

std::string Repr(const Value& value) {
  if (auto* text = value.IfText()) return Quoted(*text);
  return ToText(value);
}

}  // namespace

std::string ToText(const Value& value) {
  if (auto* text = value.IfText()) return *text;
  if (value.IsUndefined()) return "";
  if (value.IsNone()) return "None";
  if (auto* flag = value.If<bool>()) return *flag ? "True" : "False";
  if (auto* number = value.IfInt()) return fmt::format("{}", *number);
  if (auto* number = value.If<double>()) return FloatText(*number);
  std::string out;
  if (const List* list = value.IfList()) {
    for (const Value& item : *list) out += (out.empty() ? "" : ", ") + Repr(item);
    return "[" + out + "]";
  }
  if (const Dict* dict = value.IfDict()) {
    for (const auto& [key, item] : dict->items) out += (out.empty() ? "" : ", ") + Quoted(key) + ": " + Repr(item);
    return "{" + out + "}";
  }
  return fmt::format("<{}>", value.TypeName());
}

namespace {

std::string JsonText(std::string_view text, bool ensure_ascii) {
  return nlohmann::json(text).dump(-1, ' ', ensure_ascii, nlohmann::json::error_handler_t::replace);
}

constexpr size_t kMostJson = size_t{64} << 20;

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {
    item_ = !style.item_separator.empty() ? style.item_separator : style.indent < 0 ? ", " : ",";
    key_ = !style.key_separator.empty() ? style.key_separator : ": ";
  }

  Status Write(const Value& value, int depth) {
    if (out.size() > kMostJson) return MakeError(ErrorCode::kData, "the template makes JSON of more than 64 MiB");
    if (auto* text = value.IfText()) {
      out += JsonText(*text, style_.ensure_ascii);
    } else if (value.IsNone()) {
      out += "null";
    } else if (auto* flag = value.If<bool>()) {
      out += *flag ? "true" : "false";
    } else if (value.IsNumber()) {
      out += ToText(value);
    } else if (const List* list = value.IfList()) {
      return WriteList(*list, depth);
    } else if (const Dict* dict = value.IfDict()) {
      return WriteDict(*dict, depth);
    } else {
      return MakeError(ErrorCode::kData, fmt::format("{} is not JSON", value.TypeName()));
    }
    return OkStatus();
  }
  std::string out;

 private:
  void NewLine(int depth) {
    if (style_.indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(style_.indent) * depth, ' ');
  }
  Status WriteList(const List& list, int depth) {
    out += '[';
    for (size_t i = 0; i < list.size(); ++i) {
      if (i > 0) out += item_;
      NewLine(depth + 1);
      LORRY_TRY(Write(list[i], depth + 1));
    }
    if (!list.empty()) NewLine(depth);
    out += ']';
    return OkStatus();
  }
  Status WriteDict(const Dict& dict, int depth) {
    std::vector<const std::pair<std::string, Value>*> items;
    items.reserve(dict.items.size());
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) std::stable_sort(items.begin(), items.end(), [](auto* a, auto* b) { return a->first < b->first; });
    out += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += item_;
      NewLine(depth + 1);
      out += JsonText(items[i]->first, style_.ensure_ascii) + key_;
      LORRY_TRY(Write(items[i]->second, depth + 1));
    }
    if (!items.empty()) NewLine(depth);
    out += '}';
    return OkStatus();
  }

  const JsonStyle& style_;
  std::string item_, key_;
};

Value Convert(const nlohmann::ordered_json& json) {
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::string:
      return Value::Text(json.get_ref<const std::string&>());
    case nlohmann::ordered_json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::Int(json.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      uint64_t number = json.get<uint64_t>();
      return number <= uint64_t{INT64_MAX} ? Value::Int(static_cast<int64_t>(number))
                                           : Value(Value::State(static_cast<double>(number)));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return Value(Value::State(json.get<double>()));
    case nlohmann::ordered_json::value_t::array: {
      List list;
      for (const auto& item : json) list.push_back(Convert(item));
      return Value::OfList(std::move(list));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.items.emplace_back(key, Convert(item));
      return Value::OfDict(std::move(dict));
    }
    default:
      return Value::NoneValue();
  }
}

}  // namespace

Result<std::string> ToJson(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  LORRY_TRY(writer.Write(value, 0));
  return std::move(writer.out);
}

Result<Value> FromJson(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(auto checked, ParseJson(text));  // depth, size, repeated keys; the second reading keeps the order
  return Convert(nlohmann::ordered_json::parse(text, nullptr, false));
}

bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

size_t CountCodePoints(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string_view Strip(std::string_view text, const std::string* chars, bool left, bool right) {
  std::u32string set;
  for (size_t at = 0; chars && at < chars->size();) set += NextCodePoint(*chars, at);
  auto stripped = [&](char32_t c) { return chars ? set.find(c) != std::u32string::npos : IsPythonSpace(c); };
  for (size_t at = 0; left && !text.empty(); at = 0) {
    if (!stripped(NextCodePoint(text, at))) break;
    text.remove_prefix(at);
  }
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    size_t at = last;
    if (!stripped(NextCodePoint(text, at))) break;
    text = text.substr(0, last);
  }
  return text;
}

}  // namespace lorry::jinja
