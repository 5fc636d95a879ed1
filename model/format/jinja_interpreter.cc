#include "model/format/jinja_interpreter.h"

#include <ctime>

#include <algorithm>

#include <fmt/format.h>

#include "model/format/jinja_builtins.h"

namespace lorry::jinja {
namespace {

constexpr int kMaxValueDepth = 200;
constexpr int kMaxCalls = 50;  // macros within macros
constexpr int64_t kMaxRange = 100'000;

Error Fault(std::string what) { return MakeError(ErrorCode::kData, std::move(what)); }

enum class Flow { kOn, kBreak, kContinue };

class Interpreter {
 public:
  Interpreter(Dict variables, const RunOptions& options) : options_(options), out_(&rendered_.text) {
    frames_.push_back(std::move(variables));
    AddGlobals();
  }
  // Namespaces may hold each other in a ring; emptied, they end.
  ~Interpreter() {
    for (auto& space : namespaces_) space->members.items.clear();
  }

  Result<RenderedChat> Run(const Template& parsed) {
    Result<Flow> flow = Execute(parsed.body);
    if (!flow.ok()) {
      Error error = flow.error();
      error.line = line_;
      return error;
    }
    return std::move(rendered_);
  }

 private:
  // ---- names ----
  void Define(const std::string& name, std::function<Result<Value>(const Arguments&)> call) {
    if (frames_[0].Find(name)) return;  // a variable of that name hides it
    Function function{name, std::move(call)};
    frames_[0].Set(name, Value(Value::State(std::make_shared<const Function>(std::move(function)))));
  }

  void AddGlobals() {
    Define("raise_exception", [](const Arguments& args) -> Result<Value> {
      return Fault(args.Get(0, "message") ? ToText(*args.Get(0, "message")) : "the template refuses this conversation");
    });
    Define("range", [this](const Arguments& args) { return Range(args); });
    Define("dict", [](const Arguments& args) -> Result<Value> { return Value::OfDict(args.named); });
    Define("namespace", [this](const Arguments& args) -> Result<Value> {
      namespaces_.push_back(std::make_shared<Namespace>(Namespace{args.named}));
      if (const Value* base = args.Get(0, ""); base && base->IfDict()) {
        for (const auto& [key, value] : base->IfDict()->items) namespaces_.back()->members.Set(key, value);
      }
      return Value(Value::State(namespaces_.back()));
    });
    if (!options_.now) return;
    Define("strftime_now", [this](const Arguments& args) -> Result<Value> {
      const Value* format = args.Get(0, "format");
      if (!format || !format->IfText()) return Fault("strftime_now takes a format");
      std::time_t seconds = options_.now->millis() / 1000;
      std::tm time{};
      gmtime_r(&seconds, &time);
      std::string text(1024, '\0');
      text.resize(std::strftime(text.data(), text.size(), format->IfText()->c_str(), &time));
      return Value::Text(text);
    });
  }

  Result<Value> Range(const Arguments& args) {
    std::vector<int64_t> n;
    for (const Value& value : args.positional) {
      if (!value.IfInt()) return Fault("range takes whole numbers");
      n.push_back(*value.IfInt());
    }
    if (n.empty() || n.size() > 3) return Fault("range takes one to three numbers");
    int64_t begin = n.size() > 1 ? n[0] : 0, end = n.size() > 1 ? n[1] : n[0], step = n.size() > 2 ? n[2] : 1;
    if (step == 0) return Fault("range with step 0");
    List out;
    for (int64_t i = begin; step > 0 ? i < end : i > end;) {
      if (out.size() >= kMaxRange) return Fault("a range of more than 100000 numbers");
      out.push_back(Value::Int(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    LORRY_TRY(budget_.Items(out.size()));
    return Value::OfList(std::move(out));
  }

  Value Lookup(const std::string& name) const {
    for (size_t i = frames_.size(); i-- > first_frame_;) {
      if (const Value* found = frames_[i].Find(name)) return *found;
    }
    const Value* found = frames_[0].Find(name);
    return found ? *found : Value(Value::State(Undefined{name}));
  }

  // One frame more for as long as it lives.
  struct Frame {
    explicit Frame(std::vector<Dict>& frames) : frames_(frames) { frames_.emplace_back(); }
    ~Frame() { frames_.pop_back(); }
    std::vector<Dict>& frames_;
  };

  Status Assign(const std::vector<std::string>& names, const Value& value) {
    if (names.size() == 1) {
      frames_.back().Set(names[0], value);
      return OkStatus();
    }
    LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(value, budget_));
    if (items.size() != names.size()) return Fault(fmt::format("{} values for {} names", items.size(), names.size()));
    for (size_t i = 0; i < names.size(); ++i) frames_.back().Set(names[i], items[i]);
    return OkStatus();
  }

  // ---- statements ----
  Status Print(std::string_view text) {
    LORRY_TRY(budget_.Text(out_->size() + text.size() > Budget::kMaxText ? Budget::kMaxText + 1 : text.size()));
    *out_ += text;
    return OkStatus();
  }

  Result<Flow> Execute(const Block& block) {
    for (const Statement& statement : block) {
      line_ = statement.line;
      LORRY_TRY(budget_.Step());
      LORRY_ASSIGN_OR_RETURN(Flow flow, ExecuteOne(statement));
      if (flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  Result<Flow> ExecuteOne(const Statement& s) {
    switch (s.kind) {
      case StatementKind::kText:
        LORRY_TRY(Print(s.text));
        break;
      case StatementKind::kOutput:
        LORRY_TRY(Output(s));
        break;
      case StatementKind::kIf:
        return If(s);
      case StatementKind::kFor:
        return For(s);
      case StatementKind::kSet:
        LORRY_TRY(Set(s));
        break;
      case StatementKind::kSetBlock: {
        LORRY_ASSIGN_OR_RETURN(Value text, Captured(s));
        frames_.back().Set(s.names[0], std::move(text));
        break;
      }
      case StatementKind::kMacro:
        DefineMacro(s);
        break;
      case StatementKind::kWith:
        return With(s);
      case StatementKind::kFilter: {
        LORRY_ASSIGN_OR_RETURN(Value text, Captured(s));
        LORRY_TRY(Print(ToText(text)));
        break;
      }
      case StatementKind::kGeneration:
        return Generation(s);
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  Status Output(const Statement& s) {
    LORRY_ASSIGN_OR_RETURN(Value value, Eval(*s.value));
    if (options_.strict && value.IsUndefined()) return Fault(fmt::format("'{}' is undefined", value.If<Undefined>()->name));
    LORRY_TRY(budget_.Text(static_cast<size_t>(value.weight())));
    return Print(ToText(value));
  }

  Result<Flow> If(const Statement& s) {
    for (const Branch& branch : s.branches) {
      LORRY_ASSIGN_OR_RETURN(Value condition, Eval(*branch.condition));
      if (condition.Truthy()) return Execute(branch.body);
    }
    return Execute(s.otherwise);
  }

  Result<Flow> For(const Statement& s) {
    LORRY_ASSIGN_OR_RETURN(Value over, Eval(*s.value));
    LORRY_ASSIGN_OR_RETURN(List items, ItemsOf(over, budget_));
    Frame frame(frames_);
    if (s.condition) {
      List kept;
      for (Value& item : items) {
        LORRY_TRY(Assign(s.names, item));
        LORRY_ASSIGN_OR_RETURN(Value keep, Eval(*s.condition));
        if (keep.Truthy()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) return Execute(s.otherwise);
    auto shared = std::make_shared<const List>(std::move(items));
    ++loops_;
    Flow flow = Flow::kOn;
    for (size_t i = 0; i < shared->size() && flow != Flow::kBreak; ++i) {
      LORRY_TRY(budget_.Items(i == 0 ? shared->size() : 1));
      frames_.back().items.clear();
      LORRY_TRY(Assign(s.names, (*shared)[i]));
      frames_.back().Set("loop", Value::OfLoop(shared, i, loops_, over.depth()));
      LORRY_ASSIGN_OR_RETURN(flow, Execute(s.body));
    }
    --loops_;
    return Flow::kOn;
  }

  Status Set(const Statement& s) {
    LORRY_ASSIGN_OR_RETURN(Value value, Eval(*s.value));
    if (s.attribute.empty()) return Assign(s.names, value);
    Namespace* space = Lookup(s.names[0]).IfNamespace();
    if (!space) return Fault(fmt::format("{}.{} can only be set on a namespace", s.names[0], s.attribute));
    space->members.Set(s.attribute, std::move(value));
    return OkStatus();
  }

  // The text of a body, through filters if there are any.
  Result<Value> Captured(const Statement& s) {
    std::string text;
    std::string* before = std::exchange(out_, &text);
    Frame frame(frames_);
    Result<Flow> flow = Execute(s.body);
    out_ = before;
    if (!flow.ok()) return flow.error();
    Value value = Value::Text(text);
    return s.value ? Filtered(*s.value, std::move(value)) : Result<Value>(std::move(value));
  }
  Result<Value> Filtered(const Expr& filter, Value input) {
    if (filter.operands[0]) {
      LORRY_ASSIGN_OR_RETURN(input, Filtered(*filter.operands[0], std::move(input)));
    }
    LORRY_ASSIGN_OR_RETURN(Arguments args, EvalArguments(filter));
    return CallFilter(filter.text, input, args, budget_);
  }

  void DefineMacro(const Statement& s) {
    Function function{s.text, [this, &s](const Arguments& args) { return CallMacro(s, args); }};
    frames_.back().Set(s.text, Value(Value::State(std::make_shared<const Function>(std::move(function)))));
  }

  // A macro sees the template's own variables and its parameters, not those of its caller.
  Result<Value> CallMacro(const Statement& macro, const Arguments& args) {
    if (calls_ >= kMaxCalls) return Fault("macros call each other too deep");
    Dict parameters;
    const size_t plain = macro.names.size() - macro.defaults.size();
    for (size_t i = 0; i < macro.names.size(); ++i) {
      Value value(Value::State(Undefined{macro.names[i]}));
      if (const Value* given = args.Get(i, macro.names[i])) {
        value = *given;
      } else if (i >= plain) {
        LORRY_ASSIGN_OR_RETURN(value, Eval(*macro.defaults[i - plain]));
      }
      parameters.items.emplace_back(macro.names[i], std::move(value));
    }
    std::string text;
    std::string* before_out = std::exchange(out_, &text);
    const size_t before_first = std::exchange(first_frame_, frames_.size());
    frames_.push_back(std::move(parameters));
    ++calls_;
    Result<Flow> flow = Execute(macro.body);
    --calls_;
    frames_.pop_back();
    first_frame_ = before_first;
    out_ = before_out;
    if (!flow.ok()) return flow.error();
    return Value::Text(text);
  }

  Result<Flow> With(const Statement& s) {
    List values;
    for (const ExprPtr& expr : s.defaults) {
      LORRY_ASSIGN_OR_RETURN(Value value, Eval(*expr));
      values.push_back(std::move(value));
    }
    Frame frame(frames_);
    for (size_t i = 0; i < values.size(); ++i) frames_.back().Set(s.names[i], values[i]);
    return Execute(s.body);
  }

  // Spans count only where the text goes straight into the result.
  Result<Flow> Generation(const Statement& s) {
    const size_t begin = out_->size();
    Result<Flow> flow = Execute(s.body);
    if (flow.ok() && out_ == &rendered_.text) rendered_.generation.push_back({begin, out_->size()});
    return flow;
  }

  // ---- expressions ----
  Result<Value> Eval(const Expr& e) {
    LORRY_TRY(budget_.Step());
    Result<Value> value = EvalOne(e);
    if (value.ok() && value->depth() > kMaxValueDepth) return Fault("lists nested too deep");
    if (value.ok() && value->weight() > static_cast<int64_t>(Budget::kMaxText)) return Fault("a value of more than 64 MiB");
    return value;
  }

  Result<Value> EvalOne(const Expr& e) {
    switch (e.kind) {
      case ExprKind::kConstant:
        return e.constant;
      case ExprKind::kName:
        return Lookup(e.text);
      case ExprKind::kList:
        return EvalList(e);
      case ExprKind::kDict:
        return EvalDict(e);
      case ExprKind::kUnary:
        return EvalUnary(e);
      case ExprKind::kBinary:
        return EvalBinary(e);
      case ExprKind::kCompare:
        return EvalCompare(e);
      case ExprKind::kCondition:
        return EvalCondition(e);
      case ExprKind::kAttribute: {
        LORRY_ASSIGN_OR_RETURN(Value object, Eval(*e.operands[0]));
        return MemberOf(object, e.text);
      }
      case ExprKind::kItem: {
        LORRY_ASSIGN_OR_RETURN(Value object, Eval(*e.operands[0]));
        LORRY_ASSIGN_OR_RETURN(Value key, Eval(*e.operands[1]));
        if (object.IfText()) LORRY_TRY(budget_.Text(object.IfText()->size() * 4));
        return ItemOf(object, key);
      }
      case ExprKind::kSlice:
        return EvalSlice(e);
      case ExprKind::kCall:
        return EvalCall(e);
      case ExprKind::kFilter: {
        LORRY_ASSIGN_OR_RETURN(Value input, Eval(*e.operands[0]));
        LORRY_ASSIGN_OR_RETURN(Arguments args, EvalArguments(e));
        return CallFilter(e.text, input, args, budget_);
      }
      case ExprKind::kTest: {
        LORRY_ASSIGN_OR_RETURN(Value input, Eval(*e.operands[0]));
        LORRY_ASSIGN_OR_RETURN(Arguments args, EvalArguments(e));
        LORRY_ASSIGN_OR_RETURN(bool yes, CallTest(e.text, input, args));
        return Value::Bool(yes);
      }
    }
    return Fault("an expression of no kind");
  }

  Result<Value> EvalList(const Expr& e) {
    List out;
    for (const ExprPtr& operand : e.operands) {
      LORRY_ASSIGN_OR_RETURN(Value value, Eval(*operand));
      out.push_back(std::move(value));
    }
    return Value::OfList(std::move(out));
  }

  Result<Value> EvalDict(const Expr& e) {
    Dict out;
    for (size_t i = 0; i + 1 < e.operands.size(); i += 2) {
      LORRY_ASSIGN_OR_RETURN(Value key, Eval(*e.operands[i]));
      LORRY_ASSIGN_OR_RETURN(Value value, Eval(*e.operands[i + 1]));
      out.Set(ToText(key), std::move(value));
    }
    return Value::OfDict(std::move(out));
  }

  Result<Value> EvalUnary(const Expr& e) {
    LORRY_ASSIGN_OR_RETURN(Value operand, Eval(*e.operands[0]));
    if (e.text == "not") return Value::Bool(!operand.Truthy());
    if (e.text == "+" && operand.IsNumber()) return operand;
    if (operand.If<double>()) return Value(Value::State(-operand.AsDouble()));
    return Arithmetic("-", Value::Int(0), operand, budget_);
  }

  Result<Value> EvalBinary(const Expr& e) {
    LORRY_ASSIGN_OR_RETURN(Value left, Eval(*e.operands[0]));
    if (e.text == "and" && !left.Truthy()) return left;
    if (e.text == "or" && left.Truthy()) return left;
    LORRY_ASSIGN_OR_RETURN(Value right, Eval(*e.operands[1]));
    if (e.text == "and" || e.text == "or") return right;
    if (e.text == "+") return Add(left, right, budget_);
    if (e.text != "~") return Arithmetic(e.text, left, right, budget_);
    LORRY_TRY(budget_.Text(static_cast<size_t>(left.weight() + right.weight())));
    std::string a = ToText(left), b = ToText(right);
    return Value::Text(a + b);
  }

  Result<bool> Compare(const std::string& op, const Value& a, const Value& b) {
    LORRY_TRY(budget_.Text(static_cast<size_t>(std::min(a.weight(), b.weight()))));
    if (op == "==") return Equal(a, b);
    if (op == "!=") return !Equal(a, b);
    if (op == "<") return Less(a, b);
    if (op == ">") return Less(b, a);
    if (op == "<=" || op == ">=") {
      LORRY_ASSIGN_OR_RETURN(bool less, op == "<=" ? Less(b, a) : Less(a, b));
      return !less;
    }
    if (const List* list = b.IfList()) LORRY_TRY(budget_.Items(list->size()));
    LORRY_TRY(budget_.Text(static_cast<size_t>(b.weight())));
    LORRY_ASSIGN_OR_RETURN(bool in, Contains(b, a));
    return in == (op == "in");
  }

  Result<Value> EvalCompare(const Expr& e) {
    LORRY_ASSIGN_OR_RETURN(Value left, Eval(*e.operands[0]));
    for (size_t i = 0; i < e.ops.size(); ++i) {
      LORRY_ASSIGN_OR_RETURN(Value right, Eval(*e.operands[i + 1]));
      LORRY_ASSIGN_OR_RETURN(bool yes, Compare(e.ops[i], left, right));
      if (!yes) return Value::Bool(false);
      left = std::move(right);
    }
    return Value::Bool(true);
  }

  Result<Value> EvalCondition(const Expr& e) {
    LORRY_ASSIGN_OR_RETURN(Value condition, Eval(*e.operands[1]));
    if (condition.Truthy()) return Eval(*e.operands[0]);
    return e.operands.size() > 2 ? Eval(*e.operands[2]) : Result<Value>(Value());
  }

  Result<Value> EvalSlice(const Expr& e) {
    LORRY_ASSIGN_OR_RETURN(Value object, Eval(*e.operands[0]));
    std::vector<Value> parts(3);
    for (size_t i = 0; i < 3; ++i) {
      if (!e.operands[i + 1]) continue;
      LORRY_ASSIGN_OR_RETURN(parts[i], Eval(*e.operands[i + 1]));
    }
    auto part = [&](size_t i) { return e.operands[i + 1] ? &parts[i] : nullptr; };
    return SliceOf(object, part(0), part(1), part(2), budget_);
  }

  Result<Arguments> EvalArguments(const Expr& e) {
    Arguments args;
    for (size_t i = 1; i < e.operands.size(); ++i) {
      LORRY_ASSIGN_OR_RETURN(Value value, Eval(*e.operands[i]));
      args.positional.push_back(std::move(value));
    }
    for (const auto& [name, expr] : e.named) {
      LORRY_ASSIGN_OR_RETURN(Value value, Eval(*expr));
      args.named.Set(name, std::move(value));
    }
    return args;
  }

  Result<Value> EvalCall(const Expr& e) {
    const Expr& callee = *e.operands[0];
    if (callee.kind == ExprKind::kAttribute) {
      LORRY_ASSIGN_OR_RETURN(Value object, Eval(*callee.operands[0]));
      LORRY_ASSIGN_OR_RETURN(Arguments args, EvalArguments(e));
      if (object.IsUndefined()) return MemberOf(object, callee.text);
      return CallMethod(object, callee.text, args, budget_);
    }
    LORRY_ASSIGN_OR_RETURN(Value function, Eval(callee));
    LORRY_ASSIGN_OR_RETURN(Arguments args, EvalArguments(e));
    if (function.IsUndefined()) return Fault(fmt::format("'{}' is undefined", function.If<Undefined>()->name));
    if (!function.IfFunction()) return Fault(fmt::format("{} cannot be called", function.TypeName()));
    return function.IfFunction()->call(args);
  }

  const RunOptions& options_;
  Budget budget_;
  std::vector<Dict> frames_;  // 0: the template's own; then one for each for, with or macro that is open
  size_t first_frame_ = 1;    // the first, beside 0, that names are looked for in
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  RenderedChat rendered_;
  std::string* out_;
  int line_ = 0;
  int loops_ = 0;
  int calls_ = 0;
};

}  // namespace

Result<RenderedChat> Run(const Template& parsed, Dict variables, const RunOptions& options) {
  return Interpreter(std::move(variables), options).Run(parsed);
}

}  // namespace lorry::jinja
