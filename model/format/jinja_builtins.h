// Jinja's filters, tests and the methods of texts, lists and objects that chat templates call.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "model/format/jinja_value.h"

namespace lorry::jinja {

// What one rendering may still spend. A template is not trusted: every evaluation costs a step, and every 256 bytes or 16
// list items that are made cost another.
class Budget {
 public:
  static constexpr int64_t kSteps = 5'000'000;
  static constexpr size_t kMaxText = size_t{64} << 20;

  Status Step() { return Spend(1); }
  // A text of `bytes` is about to be made.
  Status Text(size_t bytes);
  Status Items(size_t items) { return Spend(1 + static_cast<int64_t>(items / 16)); }

 private:
  Status Spend(int64_t steps);
  int64_t left_ = kSteps;
};

// kData: unknown name, wrong argument. `names` of filters may stand in map(...), of tests in select(...).
Result<Value> CallFilter(std::string_view name, const Value& input, const Arguments& args, Budget& budget);
Result<bool> CallTest(std::string_view name, const Value& input, const Arguments& args);
Result<Value> CallMethod(const Value& object, std::string_view name, const Arguments& args, Budget& budget);

// object.name and object[key]: undefined where there is none; an Error for what has no members at all.
Result<Value> MemberOf(const Value& object, std::string_view name);
Result<Value> ItemOf(const Value& object, const Value& key);
// object[begin:end:step] with Python's rules; null for what was left out.
Result<Value> SliceOf(const Value& object, const Value* begin, const Value* end, const Value* step, Budget& budget);

Result<Value> Add(const Value& a, const Value& b, Budget& budget);
Result<Value> Arithmetic(std::string_view op, const Value& a, const Value& b, Budget& budget);
Result<bool> Contains(const Value& container, const Value& item);
// The items that a for runs over: of a list, the keys of an object, the characters of a text; none of undefined.
Result<List> ItemsOf(const Value& value, Budget& budget);

}  // namespace lorry::jinja
