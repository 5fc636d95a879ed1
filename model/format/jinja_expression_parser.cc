#include "model/format/jinja_expression_parser.h"

#include <array>
#include <charconv>

#include <fmt/format.h>

namespace lorry::jinja {
namespace {

constexpr int kMaxDepth = 100;

}  // namespace

Error ExpressionParser::Fault(std::string what, ErrorCode code) const {
  Error error = MakeError(code, std::move(what));
  error.line = Now().line;
  return error;
}

std::string ExpressionParser::Shown() const {
  switch (Now().kind) {
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kBlockEnd:
      return "%}";
    case TokenKind::kOutputEnd:
      return "}}";
    default:
      return Now().text;
  }
}

Status ExpressionParser::ExpectOp(std::string_view op) {
  if (TakeOp(op)) return OkStatus();
  return Fault(fmt::format("{} is expected, not {}", op, Shown()));
}

Result<std::string> ExpressionParser::ExpectName() {
  if (Now().kind != TokenKind::kName) return Fault(fmt::format("a name is expected, not {}", Shown()));
  std::string name = Now().text;
  Next();
  return name;
}

Status ExpressionParser::CheckDepth() const { return depth_ > kMaxDepth ? Status(Fault("nested too deep")) : OkStatus(); }

Status ExpressionParser::ExpectBlockEnd() {
  if (Now().kind != TokenKind::kBlockEnd) return Fault(fmt::format("%}} is expected, not {}", Shown()));
  Next();
  return OkStatus();
}

ExprPtr ExpressionParser::Make(ExprKind kind, std::string text) const {
  auto e = std::make_unique<Expr>();
  e->kind = kind;
  e->line = Now().line;
  e->text = std::move(text);
  return e;
}

ExprPtr ExpressionParser::Constant(Value value) const {
  ExprPtr e = Make(ExprKind::kConstant);
  e->constant = std::move(value);
  return e;
}

ExprPtr ExpressionParser::Binary(std::string op, ExprPtr left, ExprPtr right) const {
  ExprPtr e = Make(ExprKind::kBinary, std::move(op));
  e->operands.push_back(std::move(left));
  e->operands.push_back(std::move(right));
  return e;
}

Result<ExprPtr> ExpressionParser::ParseTuple(bool with_condition) {
  LORRY_ASSIGN_OR_RETURN(ExprPtr first, with_condition ? ParseExpr() : ParseOr());
  if (!IsOp(",")) return first;
  ExprPtr list = Make(ExprKind::kList);
  list->operands.push_back(std::move(first));
  while (TakeOp(",")) {
    if (Now().kind == TokenKind::kBlockEnd || Now().kind == TokenKind::kOutputEnd || IsOp(")")) break;
    LORRY_ASSIGN_OR_RETURN(ExprPtr item, with_condition ? ParseExpr() : ParseOr());
    list->operands.push_back(std::move(item));
  }
  return list;
}

Result<ExprPtr> ExpressionParser::ParseExpr() {
  Depth depth(depth_);
  LORRY_TRY(CheckDepth());
  LORRY_ASSIGN_OR_RETURN(ExprPtr value, ParseOr());
  while (TakeWord("if")) {
    ExprPtr e = Make(ExprKind::kCondition);
    LORRY_ASSIGN_OR_RETURN(ExprPtr condition, ParseOr());
    e->operands.push_back(std::move(value));
    e->operands.push_back(std::move(condition));
    if (TakeWord("else")) {
      LORRY_ASSIGN_OR_RETURN(ExprPtr otherwise, ParseExpr());
      e->operands.push_back(std::move(otherwise));
    }
    value = std::move(e);
  }
  return value;
}

Result<ExprPtr> ExpressionParser::ParseWords(const char* word, Operand operand) {
  LORRY_ASSIGN_OR_RETURN(ExprPtr left, (this->*operand)());
  while (TakeWord(word)) {
    LORRY_ASSIGN_OR_RETURN(ExprPtr right, (this->*operand)());
    left = Binary(word, std::move(left), std::move(right));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::ParseNot() {
  Depth depth(depth_);
  LORRY_TRY(CheckDepth());
  if (!TakeWord("not")) return ParseCompare();
  ExprPtr e = Make(ExprKind::kUnary, "not");
  LORRY_ASSIGN_OR_RETURN(ExprPtr operand, ParseNot());
  e->operands.push_back(std::move(operand));
  return e;
}

std::string ExpressionParser::TakeComparison() {
  for (std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (TakeOp(op)) return std::string(op);
  }
  if (TakeWord("in")) return "in";
  if (IsWord("not") && Ahead().kind == TokenKind::kName && Ahead().text == "in") {
    Next();
    Next();
    return "not in";
  }
  return "";
}

Result<ExprPtr> ExpressionParser::ParseCompare() {
  LORRY_ASSIGN_OR_RETURN(ExprPtr first, ParseSum());
  ExprPtr compare;
  while (true) {
    std::string op = TakeComparison();
    if (op.empty()) return compare ? std::move(compare) : std::move(first);
    if (!compare) {
      compare = Make(ExprKind::kCompare);
      compare->operands.push_back(std::move(first));
    }
    LORRY_ASSIGN_OR_RETURN(ExprPtr right, ParseSum());
    compare->ops.push_back(std::move(op));
    compare->operands.push_back(std::move(right));
  }
}

Result<ExprPtr> ExpressionParser::ParseLevel(Words ops, Operand operand) {
  LORRY_ASSIGN_OR_RETURN(ExprPtr left, (this->*operand)());
  while (Now().kind == TokenKind::kOperator && std::find(ops.begin(), ops.end(), Now().text) != ops.end()) {
    std::string op = Now().text;
    Next();
    LORRY_ASSIGN_OR_RETURN(ExprPtr right, (this->*operand)());
    left = Binary(std::move(op), std::move(left), std::move(right));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::ParseUnary(bool with_filter) {
  Depth depth(depth_);
  LORRY_TRY(CheckDepth());
  ExprPtr node;
  if (IsOp("-") || IsOp("+")) {
    node = Make(ExprKind::kUnary, Now().text);
    Next();
    LORRY_ASSIGN_OR_RETURN(ExprPtr operand, ParseUnary(false));
    node->operands.push_back(std::move(operand));
  } else {
    LORRY_ASSIGN_OR_RETURN(node, ParsePrimary());
  }
  LORRY_ASSIGN_OR_RETURN(node, ParsePostfix(std::move(node)));
  if (with_filter) {
    LORRY_ASSIGN_OR_RETURN(node, ParseFiltersAndTests(std::move(node)));
  }
  return node;
}

Result<ExprPtr> ExpressionParser::ParsePrimary() {
  const Token token = Now();
  switch (token.kind) {
    case TokenKind::kName:
      Next();
      if (token.text == "true" || token.text == "True") return Constant(Value::Bool(true));
      if (token.text == "false" || token.text == "False") return Constant(Value::Bool(false));
      if (token.text == "none" || token.text == "None") return Constant(Value::NoneValue());
      return Make(ExprKind::kName, token.text);
    case TokenKind::kString: {
      std::string text;
      for (; Now().kind == TokenKind::kString; Next()) text += Now().text;
      return Constant(Value::Text(text));
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber(token);
    default:
      break;
  }
  if (TakeOp("(")) {
    if (TakeOp(")")) return Make(ExprKind::kList);
    LORRY_ASSIGN_OR_RETURN(ExprPtr inner, ParseTuple());
    LORRY_TRY(ExpectOp(")"));
    return inner;
  }
  if (TakeOp("[")) return ParseItems(ExprKind::kList, "]");
  if (TakeOp("{")) return ParseItems(ExprKind::kDict, "}");
  return Fault(fmt::format("unexpected {}", Shown()));
}

Result<ExprPtr> ExpressionParser::ParseNumber(const Token& token) {
  Next();
  const char *begin = token.text.data(), *end = begin + token.text.size();
  if (token.kind == TokenKind::kInteger) {
    int64_t number = 0;
    if (std::from_chars(begin, end, number).ec != std::errc()) return Fault("a number that is too large");
    return Constant(Value::Int(number));
  }
  double number = 0;
  if (std::from_chars(begin, end, number).ec != std::errc()) return Fault("a number that is too large");
  return Constant(Value(Value::State(number)));
}

Result<ExprPtr> ExpressionParser::ParseItems(ExprKind kind, std::string_view close) {
  ExprPtr e = Make(kind);
  while (!IsOp(close)) {
    LORRY_ASSIGN_OR_RETURN(ExprPtr item, ParseExpr());
    e->operands.push_back(std::move(item));
    if (kind == ExprKind::kDict) {
      LORRY_TRY(ExpectOp(":"));
      LORRY_ASSIGN_OR_RETURN(ExprPtr value, ParseExpr());
      e->operands.push_back(std::move(value));
    }
    if (!TakeOp(",")) break;
  }
  LORRY_TRY(ExpectOp(close));
  return e;
}

Result<ExprPtr> ExpressionParser::ParsePostfix(ExprPtr node) {
  while (true) {
    if (TakeOp(".")) {
      ExprPtr e = Make(ExprKind::kAttribute);
      e->operands.push_back(std::move(node));
      if (Now().kind == TokenKind::kInteger) {
        e->kind = ExprKind::kItem;
        LORRY_ASSIGN_OR_RETURN(ExprPtr index, ParseNumber(Token(Now())));
        e->operands.push_back(std::move(index));
      } else {
        LORRY_ASSIGN_OR_RETURN(e->text, ExpectName());
      }
      node = std::move(e);
    } else if (TakeOp("[")) {
      LORRY_ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (IsOp("(")) {
      LORRY_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExprPtr> ExpressionParser::ParseCall(ExprPtr function) {
  ExprPtr e = Make(ExprKind::kCall);
  e->operands.push_back(std::move(function));
  LORRY_TRY(ParseArguments(*e));
  return e;
}

Result<ExprPtr> ExpressionParser::ParseSubscript(ExprPtr node) {
  ExprPtr e = Make(ExprKind::kItem);
  e->operands.push_back(std::move(node));
  ExprPtr part;
  if (!IsOp(":")) {
    LORRY_ASSIGN_OR_RETURN(part, ParseExpr());
  }
  e->operands.push_back(std::move(part));
  if (!IsOp(":")) {
    LORRY_TRY(ExpectOp("]"));
    return e;
  }
  e->kind = ExprKind::kSlice;
  e->operands.resize(4);
  for (size_t i = 2; i < 4 && TakeOp(":"); ++i) {
    if (IsOp(":") || IsOp("]")) continue;
    LORRY_ASSIGN_OR_RETURN(e->operands[i], ParseExpr());
  }
  LORRY_TRY(ExpectOp("]"));
  return e;
}

Status ExpressionParser::ParseArguments(Expr& e) {
  LORRY_TRY(ExpectOp("("));
  while (!IsOp(")")) {
    if (IsOp("*") || IsOp("**")) return Fault("* in a call is not in this version", ErrorCode::kUnsupported);
    if (Now().kind == TokenKind::kName && Ahead().kind == TokenKind::kOperator && Ahead().text == "=") {
      std::string name = Now().text;
      Next();
      Next();
      LORRY_ASSIGN_OR_RETURN(ExprPtr value, ParseExpr());
      e.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!e.named.empty()) return Fault("an argument without a name behind one with");
      LORRY_ASSIGN_OR_RETURN(ExprPtr value, ParseExpr());
      e.operands.push_back(std::move(value));
    }
    if (!TakeOp(",")) break;
  }
  return ExpectOp(")");
}

Result<ExprPtr> ExpressionParser::ParseFiltersAndTests(ExprPtr node) {
  while (true) {
    if (IsOp("|")) {
      LORRY_ASSIGN_OR_RETURN(node, ParseFilter(std::move(node)));
    } else if (TakeWord("is")) {
      LORRY_ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (IsOp("(")) {
      LORRY_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExprPtr> ExpressionParser::ParseFilter(ExprPtr node) {
  Next();  // |
  return ParseFilterName(std::move(node));
}

Result<ExprPtr> ExpressionParser::ParseFilterName(ExprPtr node) {
  ExprPtr e = Make(ExprKind::kFilter);
  LORRY_ASSIGN_OR_RETURN(e->text, ExpectName());
  e->operands.push_back(std::move(node));
  if (IsOp("(")) LORRY_TRY(ParseArguments(*e));
  return e;
}

Result<ExprPtr> ExpressionParser::ParseTest(ExprPtr node) {
  ExprPtr e = Make(ExprKind::kTest);
  bool negated = TakeWord("not");
  LORRY_ASSIGN_OR_RETURN(e->text, ExpectName());
  e->operands.push_back(std::move(node));
  if (IsOp("(")) {
    LORRY_TRY(ParseArguments(*e));
  } else if (BeginsTestArgument()) {
    LORRY_ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary());
    LORRY_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    e->operands.push_back(std::move(argument));
  }
  if (!negated) return e;
  ExprPtr no = Make(ExprKind::kUnary, "not");
  no->operands.push_back(std::move(e));
  return no;
}

bool ExpressionParser::BeginsTestArgument() const {
  if (Now().kind == TokenKind::kName) {
    constexpr std::array<std::string_view, 7> kNot = {"else", "or", "and", "if", "is", "in", "not"};
    return std::find(kNot.begin(), kNot.end(), Now().text) == kNot.end();
  }
  return Now().kind == TokenKind::kString || Now().kind == TokenKind::kInteger || Now().kind == TokenKind::kFloat || IsOp("[") ||
         IsOp("{");
}

}  // namespace lorry::jinja
