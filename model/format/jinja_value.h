// The values that a chat template computes with: JSON's, and what Jinja adds (undefined, loop, namespace, functions).
//
// Values are cheap to copy where they are lists or objects: those are shared, and never changed once they are made, except a
// namespace's members. Text is UTF-8 and counted in code points, as Python counts it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace lorry::jinja {

class Value;
using List = std::vector<Value>;

// An object in the order in which its keys came.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  const Value* Find(std::string_view key) const;
  void Set(std::string_view key, Value value);
};

struct Undefined {
  std::string name;  // what was looked for, for the error text
};
struct None {};
struct Namespace {
  Dict members;
};
// The variable `loop` of one turn through a for.
struct Loop {
  std::shared_ptr<const List> items;
  size_t index = 0;
  int depth = 1;
};

// What a call brings along.
struct Arguments {
  List positional;
  Dict named;
  // The value of a parameter by its place or name, or null.
  const Value* Get(size_t place, std::string_view name) const;
};
struct Function {
  std::string name;
  std::function<Result<Value>(const Arguments&)> call;
};

class Value {
 public:
  static constexpr int64_t kMostWeight = int64_t{1} << 62;

  using State =
      std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                   std::shared_ptr<Namespace>, std::shared_ptr<const Loop>, std::shared_ptr<const Function>>;
  Value() = default;  // undefined
  template <class T>
    requires(!std::is_same_v<std::decay_t<T>, Value> && std::is_constructible_v<State, T>)
  Value(T&& state) : state_(std::forward<T>(state)) {}
  static Value Text(std::string_view text) { return Value(std::string(text)); }
  static Value Int(int64_t number) { return Value(State(number)); }
  static Value Bool(bool flag) { return Value(State(flag)); }
  static Value OfList(List list);
  static Value OfDict(Dict dict);
  static Value OfLoop(std::shared_ptr<const List> items, size_t index, int loop_depth, int items_depth);
  static Value NoneValue() { return Value(State(None{})); }

  template <class T>
  const T* If() const {
    return std::get_if<T>(&state_);
  }
  bool IsUndefined() const { return If<Undefined>() != nullptr; }
  bool IsNone() const { return If<None>() != nullptr; }
  const std::string* IfText() const { return If<std::string>(); }
  const List* IfList() const {
    auto* p = If<std::shared_ptr<const List>>();
    return p ? p->get() : nullptr;
  }
  const Dict* IfDict() const {
    auto* p = If<std::shared_ptr<const Dict>>();
    return p ? p->get() : nullptr;
  }
  Namespace* IfNamespace() const {
    auto* p = If<std::shared_ptr<Namespace>>();
    return p ? p->get() : nullptr;
  }
  const Loop* IfLoop() const {
    auto* p = If<std::shared_ptr<const Loop>>();
    return p ? p->get() : nullptr;
  }
  const Function* IfFunction() const {
    auto* p = If<std::shared_ptr<const Function>>();
    return p ? p->get() : nullptr;
  }
  // A whole number; true and false are 1 and 0, as in Python.
  const int64_t* IfInt() const { return If<int64_t>(); }
  bool IsNumber() const { return If<int64_t>() || If<double>() || If<bool>(); }
  double AsDouble() const;  // REQUIRES: IsNumber()

  // How deep lists and objects stand in each other; what walks a value walks this deep.
  int depth() const { return depth_; }
  // About how many bytes it is when written out. Shared parts count each time they stand in it, so a small value may weigh much.
  // At most kMostWeight.
  int64_t weight() const;

  bool Truthy() const;
  const char* TypeName() const;  // "text", "list", ... for error texts

 private:
  void Hold(const Value& item);  // counts an item's depth and weight
  State state_;
  int depth_ = 0;
  int64_t weight_ = 1;
};

bool Equal(const Value& a, const Value& b);
// Less than, for numbers, texts and lists of these; an Error for anything else.
Result<bool> Less(const Value& a, const Value& b);
// What {{ value }} prints: Python's str().
std::string ToText(const Value& value);

struct JsonStyle {
  int indent = -1;  // -1: one line
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator, key_separator;  // empty: Python's defaults
};
// Python's json.dumps. kData for what JSON cannot hold, and for more than 64 MiB of it.
Result<std::string> ToJson(const Value& value, const JsonStyle& style);
// JSON text as a value, keys in their order. kData with the place.
Result<Value> FromJson(std::string_view json);

// Python's str.isspace().
bool IsPythonSpace(char32_t c);
size_t CountCodePoints(std::string_view text);
// The text without the characters of `chars` at its ends; white space where `chars` is null.
std::string_view Strip(std::string_view text, const std::string* chars, bool left, bool right);

}  // namespace lorry::jinja
