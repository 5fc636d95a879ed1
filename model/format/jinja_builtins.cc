#include "model/format/jinja_builtins.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <utf8proc.h>

#include "base/text.h"
#include "model/format/unicode_regex.h"

namespace lorry::jinja {

Status Budget::Spend(int64_t steps) {
  left_ -= steps;
  if (left_ < 0) return MakeError(ErrorCode::kData, "the template takes more steps than one may");
  return OkStatus();
}

Status Budget::Text(size_t bytes) {
  if (bytes > kMaxText) return MakeError(ErrorCode::kData, "the template makes a text of more than 64 MiB");
  return Spend(1 + static_cast<int64_t>(bytes / 256));
}

namespace {

using Args = Arguments;

Error Fault(std::string what) { return MakeError(ErrorCode::kData, std::move(what)); }

const std::string* TextAt(const Args& args, size_t place, std::string_view name) {
  const Value* value = args.Get(place, name);
  return value ? value->IfText() : nullptr;
}
int64_t IntAt(const Args& args, size_t place, std::string_view name, int64_t otherwise) {
  const Value* value = args.Get(place, name);
  return value && value->IfInt() ? *value->IfInt() : otherwise;
}
bool FlagAt(const Args& args, size_t place, std::string_view name, bool otherwise) {
  const Value* value = args.Get(place, name);
  return value ? value->Truthy() : otherwise;
}

enum class Case { kUpper, kLower, kTitle, kCapitalize };

std::string InCase(std::string_view text, Case how) {
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    char32_t c = NextCodePoint(text, at);
    bool upper = how == Case::kUpper || (!inside && how != Case::kLower);
    AppendUtf8(out, static_cast<char32_t>(upper ? utf8proc_toupper(static_cast<utf8proc_int32_t>(c))
                                                : utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    bool letter = utf8proc_toupper(static_cast<utf8proc_int32_t>(c)) != utf8proc_tolower(static_cast<utf8proc_int32_t>(c));
    inside = how == Case::kCapitalize || letter;
  }
  return out;
}

Result<Value> Replace(std::string_view text, const Args& args, Budget& budget) {
  const std::string *from = TextAt(args, 0, "old"), *to = TextAt(args, 1, "new");
  if (!from || !to) return Fault("replace takes two texts");
  int64_t count = IntAt(args, 2, "count", -1);
  if (from->empty()) return Fault("replace of an empty text is not in this version");
  std::string out;
  size_t done = 0;
  for (; count != 0; --count) {
    size_t found = text.find(*from, done);
    if (found == std::string_view::npos) break;
    out += text.substr(done, found - done);
    out += *to;
    done = found + from->size();
    if (out.size() > Budget::kMaxText) break;
  }
  LORRY_TRY(budget.Text(out.size() + text.size() - done));
  return Value::Text(out + std::string(text.substr(done)));
}

// Python's str.split and rsplit.
Result<Value> SplitText(std::string_view text, const Args& args, bool from_right, Budget& budget) {
  const std::string* separator = TextAt(args, 0, "sep");
  int64_t most = IntAt(args, 1, "maxsplit", -1);
  if (separator && separator->empty()) return Fault("split by an empty text");
  LORRY_TRY(budget.Items(text.size()));
  List out;
  if (!separator) {
    text = Strip(text, nullptr, true, true);
    if (from_right && most >= 0) return Fault("rsplit at white space with a limit is not in this version");
    while (!text.empty()) {
      size_t end = 0, next = 0;
      while (end < text.size() && (most != 0) && !IsPythonSpace(NextCodePoint(text, next))) end = next;
      if (most == 0) end = text.size();
      out.push_back(Value::Text(text.substr(0, end)));
      text = Strip(text.substr(end), nullptr, true, false);
      if (most > 0) --most;
    }
    return Value::OfList(std::move(out));
  }
  for (; most != 0; --most) {
    size_t found = from_right ? text.rfind(*separator) : text.find(*separator);
    if (found == std::string_view::npos) break;
    if (from_right) {
      out.push_back(Value::Text(text.substr(found + separator->size())));
      text = text.substr(0, found);
    } else {
      out.push_back(Value::Text(text.substr(0, found)));
      text = text.substr(found + separator->size());
    }
  }
  out.push_back(Value::Text(text));
  if (from_right) std::reverse(out.begin(), out.end());
  return Value::OfList(std::move(out));
}

List Lines(std::string_view text) {
  List out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find_first_of("\r\n", at), text.size());
    out.push_back(Value::Text(text.substr(at, end - at)));
    at = end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
  }
  return out;
}

bool BeginsOrEnds(std::string_view text, const Value* with, bool begins) {
  if (!with) return false;
  if (const List* any = with->IfList()) {
    return std::any_of(any->begin(), any->end(), [&](const Value& one) { return BeginsOrEnds(text, &one, begins); });
  }
  const std::string* part = with->IfText();
  if (!part || part->size() > text.size()) return false;
  return (begins ? text.substr(0, part->size()) : text.substr(text.size() - part->size())) == *part;
}

Result<Value> TextMethod(const std::string& text, std::string_view name, const Args& args, Budget& budget) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return Value::Text(Strip(text, TextAt(args, 0, "chars"), name != "rstrip", name != "lstrip"));
  }
  if (name == "startswith" || name == "endswith") {
    return Value::Bool(BeginsOrEnds(text, args.Get(0, "prefix"), name == "startswith"));
  }
  if (name == "split" || name == "rsplit") return SplitText(text, args, name == "rsplit", budget);
  if (name == "replace") return Replace(text, args, budget);
  if (name == "upper") return Value::Text(InCase(text, Case::kUpper));
  if (name == "lower") return Value::Text(InCase(text, Case::kLower));
  if (name == "title") return Value::Text(InCase(text, Case::kTitle));
  if (name == "capitalize") return Value::Text(InCase(text, Case::kCapitalize));
  if (name == "splitlines") return Value::OfList(Lines(text));
  if (name == "isdigit") return Value::Bool(!text.empty() && text.find_first_not_of("0123456789") == std::string::npos);
  if (name == "removeprefix" || name == "removesuffix") {
    const Value* with = args.Get(0, "");
    const std::string* part = with ? with->IfText() : nullptr;
    if (!part) return Fault(fmt::format("{} takes a text", name));
    if (!BeginsOrEnds(text, with, name == "removeprefix")) return Value::Text(text);
    return Value::Text(name == "removeprefix" ? text.substr(part->size()) : text.substr(0, text.size() - part->size()));
  }
  if (name == "find" || name == "count" || name == "index") {
    const std::string* part = TextAt(args, 0, "sub");
    if (!part || part->empty()) return Fault(fmt::format("{} takes a text", name));
    size_t found = text.find(*part);
    if (name == "find") {
      return Value::Int(found == std::string::npos ? -1 : static_cast<int64_t>(CountCodePoints(text.substr(0, found))));
    }
    if (name == "index") {
      return found == std::string::npos ? Result<Value>(Fault("text not found"))
                                        : Value::Int(static_cast<int64_t>(CountCodePoints(text.substr(0, found))));
    }
    int64_t count = 0;
    for (; found != std::string::npos; found = text.find(*part, found + part->size())) ++count;
    return Value::Int(count);
  }
  if (name == "join") {
    return CallFilter("join", args.Get(0, "") ? *args.Get(0, "") : Value(), Args{{Value::Text(text)}, {}}, budget);
  }
  return Fault(fmt::format("a text has no method {} here", name));
}

Value ItemPairs(const Dict& dict) {
  List out;
  for (const auto& [key, value] : dict.items) out.push_back(Value::OfList({Value::Text(key), value}));
  return Value::OfList(std::move(out));
}

Result<Value> DictMethod(const Dict& dict, std::string_view name, const Args& args) {
  if (name == "items") return ItemPairs(dict);
  if (name == "keys" || name == "values") {
    List out;
    for (const auto& [key, value] : dict.items) out.push_back(name == "keys" ? Value::Text(key) : value);
    return Value::OfList(std::move(out));
  }
  if (name == "get") {
    const std::string* key = TextAt(args, 0, "key");
    const Value *found = key ? dict.Find(*key) : nullptr, *otherwise = args.Get(1, "default");
    return found ? *found : otherwise ? *otherwise : Value::NoneValue();
  }
  return Fault(fmt::format("an object has no method {} here", name));
}

// "a.b" or a list's place, as map(attribute=...) has it.
Result<Value> AttributePath(const Value& value, std::string_view path) {
  Value now = value;
  for (const std::string& part : Split(path, '.')) {
    bool number = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    LORRY_ASSIGN_OR_RETURN(now, number ? ItemOf(now, Value::Int(std::stol(part))) : MemberOf(now, part));
  }
  return now;
}

Result<Value> Map(const Value& input, const Args& args, Budget& budget) {
  LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
  const std::string* attribute = TextAt(args, SIZE_MAX, "attribute");
  const std::string* filter = TextAt(args, 0, "filter");
  if (!attribute && !filter) return Fault("map takes a filter's name or attribute=");
  Args rest;
  if (!args.positional.empty()) rest.positional.assign(args.positional.begin() + 1, args.positional.end());
  for (Value& item : items) {
    LORRY_TRY(budget.Step());
    if (attribute) {
      LORRY_ASSIGN_OR_RETURN(item, AttributePath(item, *attribute));
      const Value* otherwise = args.named.Find("default");
      if (item.IsUndefined() && otherwise) item = *otherwise;
    } else {
      LORRY_ASSIGN_OR_RETURN(item, CallFilter(*filter, item, rest, budget));
    }
  }
  return Value::OfList(std::move(items));
}

// select, reject, selectattr, rejectattr.
Result<Value> Select(std::string_view name, const Value& input, const Args& args, Budget& budget) {
  const bool by_attribute = name.size() > 6, keep = name.substr(0, 6) == "select";
  LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
  const std::string* attribute = by_attribute ? TextAt(args, 0, "attribute") : nullptr;
  if (by_attribute && !attribute) return Fault(fmt::format("{} takes an attribute's name", name));
  const size_t first = by_attribute ? 1 : 0;
  const std::string* test = TextAt(args, first, "test");
  Args rest;
  if (args.positional.size() > first + 1) rest.positional.assign(args.positional.begin() + first + 1, args.positional.end());
  List out;
  for (const Value& item : items) {
    LORRY_TRY(budget.Step());
    Value subject = item;
    if (attribute) {
      LORRY_ASSIGN_OR_RETURN(subject, AttributePath(item, *attribute));
    }
    bool yes = subject.Truthy();
    if (test) {
      LORRY_ASSIGN_OR_RETURN(yes, CallTest(*test, subject, rest));
    }
    if (yes == keep) out.push_back(item);
  }
  return Value::OfList(std::move(out));
}

Result<Value> Join(const Value& input, const Args& args, Budget& budget) {
  LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
  const std::string *separator = TextAt(args, 0, "d"), *attribute = TextAt(args, 1, "attribute");
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (attribute) {
      LORRY_ASSIGN_OR_RETURN(items[i], AttributePath(items[i], *attribute));
    }
    if (i > 0 && separator) out += *separator;
    LORRY_TRY(budget.Text(out.size() + static_cast<size_t>(items[i].weight()) > Budget::kMaxText
                              ? Budget::kMaxText + 1
                              : static_cast<size_t>(items[i].weight())));
    out += ToText(items[i]);
  }
  LORRY_TRY(budget.Text(out.size()));
  return Value::Text(out);
}

// sort, unique, dictsort, min, max: by the item or its attribute; texts without regard to case unless case_sensitive.
Result<Value> SortKey(const Value& item, const std::string* attribute, bool case_sensitive) {
  Value key = item;
  if (attribute) {
    LORRY_ASSIGN_OR_RETURN(key, AttributePath(item, *attribute));
  }
  if (key.IfText() && !case_sensitive) return Value::Text(InCase(*key.IfText(), Case::kLower));
  return key;
}

Result<Value> Sort(const Value& input, bool reverse, const std::string* attribute, bool case_sensitive, Budget& budget) {
  LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
  LORRY_TRY(budget.Items(items.size() * 64));
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    LORRY_ASSIGN_OR_RETURN(Value key, SortKey(item, attribute, case_sensitive));
    if (!keyed.empty()) LORRY_TRY(Less(keyed[0].first, key));  // all keys of one kind, so that the order is one
    keyed.emplace_back(std::move(key), item);
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    auto less = reverse ? Less(b.first, a.first) : Less(a.first, b.first);
    return less.ok() && *less;
  });
  List out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return Value::OfList(std::move(out));
}

Result<Value> Unique(const Value& input, const Args& args, Budget& budget) {
  LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
  List out, seen;
  for (const Value& item : items) {
    LORRY_TRY(budget.Items(seen.size() * static_cast<size_t>(item.weight())));
    LORRY_ASSIGN_OR_RETURN(Value key, SortKey(item, TextAt(args, 1, "attribute"), FlagAt(args, 0, "case_sensitive", false)));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return Equal(key, other); })) continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return Value::OfList(std::move(out));
}

Result<Value> Indent(const std::string& text, const Args& args, Budget& budget) {
  const std::string* prefix = TextAt(args, 0, "width");
  const std::string by = prefix ? *prefix : std::string(std::clamp<int64_t>(IntAt(args, 0, "width", 4), 0, 1000), ' ');
  bool first = FlagAt(args, 1, "first", false), blank = FlagAt(args, 2, "blank", false);
  List lines = Lines(text);
  LORRY_TRY(budget.Items(lines.size()));
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = *lines[i].IfText();
    if (i > 0) out += '\n';
    if (i == 0 ? first : (blank || !line.empty())) out += by;
    out += line;
    if (out.size() > Budget::kMaxText) break;
  }
  if (!text.empty() && text.back() == '\n') out += '\n';
  LORRY_TRY(budget.Text(out.size()));
  return Value::Text(out);
}

Result<Value> ToNumber(std::string_view name, const Value& input, const Args& args) {
  if (input.IsNumber()) {
    double number = input.AsDouble();
    if (name == "float") return Value(Value::State(number));
    if (input.IfInt()) return input;
    return std::abs(number) < 9e18 ? Value::Int(static_cast<int64_t>(number)) : Value::Int(0);
  }
  const Value* otherwise = args.Get(0, "default");
  const std::string text = input.IfText() ? std::string(Strip(*input.IfText(), nullptr, true, true)) : "";
  double number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return ToNumber(name, Value(Value::State(number)), args);
  if (otherwise) return *otherwise;
  return name == "int" ? Value::Int(0) : Value(Value::State(0.0));
}

constexpr int64_t kLongestSeparators = 64;

Result<Value> JsonFilter(const Value& input, const Args& args, Budget& budget) {
  if (input.IsUndefined()) return Fault("tojson of an undefined value");
  JsonStyle style;
  const Value* indent = args.Get(1, "indent");
  if (indent && indent->IfInt()) style.indent = static_cast<int>(std::clamp<int64_t>(*indent->IfInt(), 0, 64));
  style.ensure_ascii = FlagAt(args, 0, "ensure_ascii", false);
  if (args.positional.size() == 1 && args.positional[0].IfInt()) {
    style.indent = static_cast<int>(std::clamp<int64_t>(*args.positional[0].IfInt(), 0, 64));
  }
  style.sort_keys = FlagAt(args, 3, "sort_keys", false);
  if (const Value* separators = args.Get(2, "separators");
      separators && separators->IfList() && separators->IfList()->size() == 2) {
    if (separators->weight() > kLongestSeparators) return Fault("tojson with separators that are too long");
    style.item_separator = ToText((*separators->IfList())[0]);
    style.key_separator = ToText((*separators->IfList())[1]);
  }
  LORRY_TRY(budget.Text(static_cast<size_t>(input.weight())));
  LORRY_ASSIGN_OR_RETURN(std::string text, ToJson(input, style));
  LORRY_TRY(budget.Text(text.size()));
  return Value::Text(text);
}

Result<Value> ListFilter(std::string_view name, const Value& input, const Args& args, Budget& budget) {
  if (name == "map") return Map(input, args, budget);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return Select(name, input, args, budget);
  }
  if (name == "join") return Join(input, args, budget);
  if (name == "unique") return Unique(input, args, budget);
  if (name == "sort") {
    return Sort(input, FlagAt(args, 0, "reverse", false), TextAt(args, 2, "attribute"), FlagAt(args, 1, "case_sensitive", false),
                budget);
  }
  if (name == "dictsort" && input.IfDict()) {
    static const std::string kKey = "0", kValue = "1";
    const std::string* by = TextAt(args, 1, "by");
    return Sort(ItemPairs(*input.IfDict()), FlagAt(args, 2, "reverse", false), by && *by == "value" ? &kValue : &kKey,
                FlagAt(args, 0, "case_sensitive", false), budget);
  }
  LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
  if (name == "list") return Value::OfList(std::move(items));
  if (name == "first" || name == "last") {
    if (items.empty()) return Value(Value::State(Undefined{std::string(name)}));
    return name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") {
    std::reverse(items.begin(), items.end());
    if (!input.IfText()) return Value::OfList(std::move(items));
    return Join(Value::OfList(std::move(items)), {}, budget);
  }
  if (name == "sum") {
    Value total = args.Get(1, "start") ? *args.Get(1, "start") : Value::Int(0);
    for (const Value& item : items) {
      LORRY_ASSIGN_OR_RETURN(total, Add(total, item, budget));
    }
    return total;
  }
  if (name == "min" || name == "max") {
    if (items.empty()) return Value(Value::State(Undefined{std::string(name)}));
    LORRY_ASSIGN_OR_RETURN(Value sorted, Sort(Value::OfList(std::move(items)), name == "max", nullptr, false, budget));
    return sorted.IfList()->front();
  }
  return Fault(fmt::format("unknown filter {}", name));
}

}  // namespace

Result<Value> CallFilter(std::string_view name, const Value& input, const Arguments& args, Budget& budget) {
  LORRY_TRY(budget.Step());
  if (name == "default" || name == "d") {
    bool use = input.IsUndefined() || (FlagAt(args, 1, "boolean", false) && !input.Truthy());
    const Value* otherwise = args.Get(0, "default_value");
    return !use ? input : otherwise ? *otherwise : Value::Text("");
  }
  if (name == "safe") return input;
  if (name == "tojson") return JsonFilter(input, args, budget);
  if (name == "length" || name == "count") {
    if (auto* text = input.IfText()) return Value::Int(static_cast<int64_t>(CountCodePoints(*text)));
    LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(input, budget));
    return Value::Int(static_cast<int64_t>(items.size()));
  }
  if (name == "items") {
    if (input.IsUndefined()) return Value::OfList({});
    if (!input.IfDict()) return Fault("items of something that is not an object");
    return ItemPairs(*input.IfDict());
  }
  if (name == "int" || name == "float") return ToNumber(name, input, args);
  if (name == "abs" && input.IsNumber()) {
    if (input.IfInt()) return *input.IfInt() < 0 ? Arithmetic("-", Value::Int(0), input, budget) : Result<Value>(input);
    return Value(Value::State(std::abs(input.AsDouble())));
  }
  if (name == "round" && input.IsNumber()) {
    double scale = std::pow(10.0, static_cast<double>(std::clamp<int64_t>(IntAt(args, 0, "precision", 0), -15, 15)));
    return Value(Value::State(std::nearbyint(input.AsDouble() * scale) / scale));
  }
  static const std::map<std::string_view, Case> kCases = {
      {"upper", Case::kUpper}, {"lower", Case::kLower}, {"title", Case::kTitle}, {"capitalize", Case::kCapitalize}};
  const bool of_text = name == "string" || name == "trim" || name == "replace" || name == "indent" || kCases.count(name) > 0;
  if (!of_text) return ListFilter(name, input, args, budget);
  LORRY_TRY(budget.Text(static_cast<size_t>(input.weight())));
  const std::string text = ToText(input);
  if (auto it = kCases.find(name); it != kCases.end()) return Value::Text(InCase(text, it->second));
  if (name == "trim") return Value::Text(Strip(text, TextAt(args, 0, "chars"), true, true));
  if (name == "replace") return Replace(text, args, budget);
  if (name == "indent") return Indent(text, args, budget);
  return Value::Text(text);
}

Result<bool> CallTest(std::string_view name, const Value& v, const Arguments& args) {
  if (name == "defined") return !v.IsUndefined();
  if (name == "undefined") return v.IsUndefined();
  if (name == "none") return v.IsNone();
  if (name == "string") return v.IfText() != nullptr;
  if (name == "number") return v.IsNumber();
  if (name == "integer") return v.IfInt() != nullptr;
  if (name == "float") return v.If<double>() != nullptr;
  if (name == "boolean") return v.If<bool>() != nullptr;
  if (name == "true" || name == "false") return v.If<bool>() && *v.If<bool>() == (name == "true");
  if (name == "mapping") return v.IfDict() != nullptr;
  if (name == "sequence") return v.IfList() || v.IfDict() || v.IfText() || v.IsUndefined();
  if (name == "iterable") return v.IfList() || v.IfDict() || v.IfText() || v.IfLoop() || v.IsUndefined();
  if (name == "callable") return v.IfFunction() != nullptr;
  if (name == "lower" || name == "upper") {
    return v.IfText() && InCase(*v.IfText(), name == "lower" ? Case::kLower : Case::kUpper) == *v.IfText();
  }
  if (name == "odd" || name == "even") {
    if (!v.IfInt()) return Fault(fmt::format("{} of {}", name, v.TypeName()));
    return (*v.IfInt() % 2 != 0) == (name == "odd");
  }
  const Value* other = args.Get(0, "other");
  if (!other) return Fault(fmt::format("unknown test {}, or its argument is missing", name));
  if (name == "equalto" || name == "eq" || name == "sameas") return Equal(v, *other);
  if (name == "ne") return !Equal(v, *other);
  if (name == "lt") return Less(v, *other);
  if (name == "gt") return Less(*other, v);
  if (name == "in") return Contains(*other, v);
  if (name == "le" || name == "ge") {
    LORRY_ASSIGN_OR_RETURN(bool less, name == "le" ? Less(*other, v) : Less(v, *other));
    return !less;
  }
  if (name == "divisibleby") {
    if (!v.IfInt() || !other->IfInt() || *other->IfInt() == 0) return Fault("divisibleby takes whole numbers");
    return *other->IfInt() == -1 || *v.IfInt() % *other->IfInt() == 0;
  }
  return Fault(fmt::format("unknown test {}", name));
}

Result<Value> CallMethod(const Value& object, std::string_view name, const Arguments& args, Budget& budget) {
  if (auto* text = object.IfText()) {
    LORRY_TRY(budget.Text(text->size()));
    return TextMethod(*text, name, args, budget);
  }
  if (const Dict* dict = object.IfDict()) {
    LORRY_TRY(budget.Items(dict->items.size()));
    if (name == "items" || name == "keys" || name == "values" || name == "get") return DictMethod(*dict, name, args);
  }
  if (const Loop* loop = object.IfLoop(); loop && name == "cycle" && !args.positional.empty()) {
    return args.positional[loop->index % args.positional.size()];
  }
  LORRY_ASSIGN_OR_RETURN(Value member, MemberOf(object, name));
  if (const Function* function = member.IfFunction()) return function->call(args);
  return Fault(fmt::format("{} has no method {} here", object.TypeName(), name));
}

}  // namespace lorry::jinja
