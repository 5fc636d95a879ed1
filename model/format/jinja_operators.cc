// Arithmetic, members, slices and containment of Jinja values.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "model/format/jinja_builtins.h"
#include "model/format/unicode_regex.h"

namespace lorry::jinja {
namespace {

Error Fault(std::string what) { return MakeError(ErrorCode::kData, std::move(what)); }

Error UndefinedFault(const Value& value) {
  return Fault(
      fmt::format("{} is undefined", value.If<Undefined>()->name.empty() ? "a value" : "'" + value.If<Undefined>()->name + "'"));
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    NextCodePoint(text, at);
    out.push_back(text.substr(begin, at - begin));
  }
  return out;
}

// Python's floor division and modulo.
Result<Value> IntArithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == "//" || op == "%") {
    if (b == 0) return Fault("division by zero");
    if (b == -1 && a == std::numeric_limits<int64_t>::min()) return Fault("a number that is too large");
    int64_t rest = a % b;
    bool down = rest != 0 && (rest < 0) != (b < 0);
    out = op == "%" ? (down ? rest + b : rest) : a / b - down;
  } else {  // **
    if (b < 0) return Value(Value::State(std::pow(static_cast<double>(a), static_cast<double>(b))));
    out = 1;
    for (int64_t i = 0; i < b && !overflow && out != 0 && (a != 1); ++i) {
      if (a == -1) return Value::Int(b % 2 == 0 ? 1 : -1);
      overflow = __builtin_mul_overflow(out, a, &out);
    }
  }
  if (overflow) return Fault("a number that is too large");
  return Value::Int(out);
}

Result<Value> Repeat(const Value& value, int64_t times, Budget& budget) {
  times = std::max<int64_t>(times, 0);
  if (auto* text = value.IfText()) {
    if (!text->empty() && times > static_cast<int64_t>(Budget::kMaxText / text->size())) {
      return budget.Text(Budget::kMaxText + 1).error();
    }
    LORRY_TRY(budget.Text(text->size() * times));
    std::string out;
    for (int64_t i = 0; i < times; ++i) out += *text;
    return Value::Text(out);
  }
  const List& list = *value.IfList();
  if (!list.empty() && times > 1'000'000 / static_cast<int64_t>(list.size())) return Fault("a list of more than 1000000 items");
  LORRY_TRY(budget.Items(list.size() * times));
  List out;
  for (int64_t i = 0; i < times; ++i) out.insert(out.end(), list.begin(), list.end());
  return Value::OfList(std::move(out));
}

// -1 is the last.
std::optional<size_t> Place(int64_t index, size_t size) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

Value LoopMember(const Loop& loop, std::string_view name) {
  const int64_t i = static_cast<int64_t>(loop.index), n = static_cast<int64_t>(loop.items->size());
  if (name == "index") return Value::Int(i + 1);
  if (name == "index0") return Value::Int(i);
  if (name == "revindex") return Value::Int(n - i);
  if (name == "revindex0") return Value::Int(n - i - 1);
  if (name == "first") return Value::Bool(i == 0);
  if (name == "last") return Value::Bool(i + 1 == n);
  if (name == "length") return Value::Int(n);
  if (name == "depth") return Value::Int(loop.depth);
  if (name == "depth0") return Value::Int(loop.depth - 1);
  if (name == "previtem" && i > 0) return (*loop.items)[i - 1];
  if (name == "nextitem" && i + 1 < n) return (*loop.items)[i + 1];
  return Value(Value::State(Undefined{"loop." + std::string(name)}));
}

Result<int64_t> Bound(const Value* value, int64_t otherwise) {
  if (value == nullptr || value->IsNone()) return otherwise;
  if (!value->IfInt()) return Fault(fmt::format("a slice by {}", value->TypeName()));
  return *value->IfInt();
}

}  // namespace

Result<Value> MemberOf(const Value& object, std::string_view name) {
  if (object.IsUndefined()) return UndefinedFault(object);
  const Dict* dict = object.IfDict();
  if (Namespace* space = object.IfNamespace()) dict = &space->members;
  if (dict) {
    if (const Value* found = dict->Find(name)) return *found;
  }
  if (const Loop* loop = object.IfLoop()) return LoopMember(*loop, name);
  return Value(Value::State(Undefined{std::string(name)}));
}

Result<Value> ItemOf(const Value& object, const Value& key) {
  if (auto* name = key.IfText()) return MemberOf(object, *name);
  if (object.IsUndefined()) return UndefinedFault(object);
  const Value missing(Value::State(Undefined{ToText(key)}));
  if (!key.IfInt()) return missing;
  if (const List* list = object.IfList()) {
    auto place = Place(*key.IfInt(), list->size());
    return place ? (*list)[*place] : missing;
  }
  if (auto* text = object.IfText()) {
    std::vector<std::string_view> characters = Characters(*text);
    auto place = Place(*key.IfInt(), characters.size());
    return place ? Value::Text(characters[*place]) : missing;
  }
  return missing;
}

Result<Value> SliceOf(const Value& object, const Value* begin, const Value* end, const Value* step, Budget& budget) {
  if (object.IsUndefined()) return UndefinedFault(object);
  const auto* text = object.IfText();
  const List* list = object.IfList();
  if (!text && !list) return Fault(fmt::format("a slice of {}", object.TypeName()));
  std::vector<std::string_view> characters;
  if (text) {
    LORRY_TRY(budget.Text(text->size() * 4));
    characters = Characters(*text);
  } else {
    LORRY_TRY(budget.Items(list->size()));
  }
  const int64_t n = static_cast<int64_t>(text ? characters.size() : list->size());
  LORRY_ASSIGN_OR_RETURN(int64_t by, Bound(step, 1));
  if (by == 0) return Fault("a slice with step 0");
  by = std::clamp<int64_t>(by, -n - 1, n + 1);
  LORRY_ASSIGN_OR_RETURN(int64_t from, Bound(begin, by > 0 ? 0 : n - 1));
  LORRY_ASSIGN_OR_RETURN(int64_t to, Bound(end, by > 0 ? n : -n - 1));
  auto inside = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, by > 0 ? 0 : -1, by > 0 ? n : n - 1); };
  from = inside(std::clamp<int64_t>(from, -n - 1, n));
  to = inside(std::clamp<int64_t>(to, -n - 1, n));
  std::string out_text;
  List out_list;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) {
    if (text) {
      out_text += characters[i];
    } else {
      out_list.push_back((*list)[i]);
    }
  }
  return text ? Value::Text(out_text) : Value::OfList(std::move(out_list));
}

Result<Value> Add(const Value& a, const Value& b, Budget& budget) {
  if (a.IsUndefined()) return UndefinedFault(a);
  if (b.IsUndefined()) return UndefinedFault(b);
  if (a.IfText() && b.IfText()) {
    LORRY_TRY(budget.Text(a.IfText()->size() + b.IfText()->size()));
    return Value::Text(*a.IfText() + *b.IfText());
  }
  if (a.IsNumber() && b.IsNumber()) {
    if (a.If<double>() || b.If<double>()) return Value(Value::State(a.AsDouble() + b.AsDouble()));
    int64_t sum = 0;
    auto whole = [](const Value& v) { return v.IfInt() ? *v.IfInt() : int64_t{*v.If<bool>()}; };
    if (__builtin_add_overflow(whole(a), whole(b), &sum)) return Fault("a number that is too large");
    return Value::Int(sum);
  }
  if (a.IfList() && b.IfList()) {
    LORRY_TRY(budget.Items(a.IfList()->size() + b.IfList()->size()));
    List out = *a.IfList();
    out.insert(out.end(), b.IfList()->begin(), b.IfList()->end());
    return Value::OfList(std::move(out));
  }
  return Fault(fmt::format("{} + {} has no meaning", a.TypeName(), b.TypeName()));
}

Result<Value> Arithmetic(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (a.IsUndefined()) return UndefinedFault(a);
  if (b.IsUndefined()) return UndefinedFault(b);
  if (op == "*" && b.IfInt() && (a.IfText() || a.IfList())) return Repeat(a, *b.IfInt(), budget);
  if (op == "*" && a.IfInt() && (b.IfText() || b.IfList())) return Repeat(b, *a.IfInt(), budget);
  if (!a.IsNumber() || !b.IsNumber()) return Fault(fmt::format("{} {} {} has no meaning", a.TypeName(), op, b.TypeName()));
  auto whole = [](const Value& v) { return v.IfInt() ? *v.IfInt() : int64_t{v.Truthy()}; };
  if (op != "/" && !a.If<double>() && !b.If<double>()) return IntArithmetic(op, whole(a), whole(b));
  double x = a.AsDouble(), y = b.AsDouble(), out = 0;
  if (op == "-") {
    out = x - y;
  } else if (op == "*") {
    out = x * y;
  } else if (op == "**") {
    out = std::pow(x, y);
  } else if (y == 0) {
    return Fault("division by zero");
  } else if (op == "/") {
    out = x / y;
  } else if (op == "//") {
    out = std::floor(x / y);
  } else {
    out = x - y * std::floor(x / y);
  }
  return Value(Value::State(out));
}

Result<bool> Contains(const Value& container, const Value& item) {
  if (container.IsUndefined()) return false;
  if (auto* text = container.IfText()) {
    if (item.IsUndefined()) return UndefinedFault(item);
    if (!item.IfText()) return Fault(fmt::format("{} in text has no meaning", item.TypeName()));
    return text->find(*item.IfText()) != std::string::npos;
  }
  if (const List* list = container.IfList()) {
    return std::any_of(list->begin(), list->end(), [&](const Value& other) { return Equal(item, other); });
  }
  if (const Dict* dict = container.IfDict()) return item.IfText() && dict->Find(*item.IfText()) != nullptr;
  return Fault(fmt::format("in {} has no meaning", container.TypeName()));
}

Result<List> ItemsOf(const Value& value, Budget& budget) {
  if (const List* list = value.IfList()) {
    LORRY_TRY(budget.Items(list->size()));
    return *list;
  }
  List out;
  if (value.IsUndefined()) return out;
  if (const Dict* dict = value.IfDict()) {
    LORRY_TRY(budget.Items(dict->items.size()));
    for (const auto& [key, item] : dict->items) out.push_back(Value::Text(key));
    return out;
  }
  if (auto* text = value.IfText()) {
    LORRY_TRY(budget.Items(text->size()));
    for (std::string_view character : Characters(*text)) out.push_back(Value::Text(character));
    return out;
  }
  return Fault(fmt::format("{} cannot be gone through", value.TypeName()));
}

}  // namespace lorry::jinja
