#include "model/format/jinja_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "model/format/jinja_lexer.h"

namespace lorry::jinja {
namespace {

constexpr size_t kMaxSource = 1 << 20;
constexpr int kMaxDepth = 100;
using Words = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Template> Run() {
    LORRY_ASSIGN_OR_RETURN(Block body, ParseBlock({}));
    Template out;
    out.body = std::move(body);
    out.has_generation = has_generation_;
    return out;
  }

 private:
  // ---- tokens ----
  const Token& Now() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Next() { if (at_ + 1 < tokens_.size()) ++at_; }
  bool IsOp(std::string_view op) const { return Now().kind == TokenKind::kOperator && Now().text == op; }
  bool IsWord(std::string_view word) const { return Now().kind == TokenKind::kName && Now().text == word; }
  bool TakeOp(std::string_view op) { return IsOp(op) && (Next(), true); }
  bool TakeWord(std::string_view word) { return IsWord(word) && (Next(), true); }
  Error Fault(std::string what, ErrorCode code = ErrorCode::kData) const {
    Error error = MakeError(code, std::move(what));
    error.line = Now().line;
    return error;
  }
  std::string Shown() const {
    switch (Now().kind) {
      case TokenKind::kEnd: return "the end of the template";
      case TokenKind::kBlockEnd: return "%}";
      case TokenKind::kOutputEnd: return "}}";
      default: return Now().text;
    }
  }
  Status ExpectOp(std::string_view op) {
    if (TakeOp(op)) return OkStatus();
    return Fault(fmt::format("{} is expected, not {}", op, Shown()));
  }
  Result<std::string> ExpectName() {
    if (Now().kind != TokenKind::kName) return Fault(fmt::format("a name is expected, not {}", Shown()));
    std::string name = Now().text;
    Next();
    return name;
  }
  Status ExpectBlockEnd() {
    if (Now().kind != TokenKind::kBlockEnd) return Fault(fmt::format("%}} is expected, not {}", Shown()));
    Next();
    return OkStatus();
  }
  struct Depth {
    explicit Depth(int& depth) : of(depth) { ++of; }
    ~Depth() { --of; }
    int& of;
  };
  Status CheckDepth() const { return depth_ > kMaxDepth ? Status(Fault("nested too deep")) : OkStatus(); }

  // ---- statements ----

  // Up to a tag whose word is one of `ends`; the tag's word is the current token then.
  Result<Block> ParseBlock(Words ends) {
    Depth depth(depth_);
    LORRY_TRY(CheckDepth());
    Block block;
    while (true) {
      if (Now().kind == TokenKind::kEnd) {
        if (ends.size() == 0) return block;
        return Fault(fmt::format("{{% {} %}} is missing", *(ends.end() - 1)));
      }
      if (Now().kind == TokenKind::kText) {
        Statement text;
        text.line = Now().line;
        text.text = Now().text;
        Next();
        block.push_back(std::move(text));
      } else if (Now().kind == TokenKind::kOutputBegin) {
        LORRY_TRY(ParseOutput(block));
      } else {
        Next();  // {%
        if (Now().kind == TokenKind::kName && std::find(ends.begin(), ends.end(), Now().text) != ends.end()) return block;
        LORRY_TRY(ParseStatement(block));
      }
    }
  }

  Status ParseOutput(Block& block) {
    Statement out;
    out.kind = StatementKind::kOutput;
    out.line = Now().line;
    Next();
    LORRY_ASSIGN_OR_RETURN(out.value, ParseTuple());
    if (Now().kind != TokenKind::kOutputEnd) return Fault(fmt::format("}}}} is expected, not {}", Shown()));
    Next();
    block.push_back(std::move(out));
    return OkStatus();
  }

  Status ParseStatement(Block& block) {
    Statement s;
    s.line = Now().line;
    LORRY_ASSIGN_OR_RETURN(std::string word, ExpectName());
    if (word == "if") LORRY_TRY(ParseIf(s));
    else if (word == "for") LORRY_TRY(ParseFor(s));
    else if (word == "set") LORRY_TRY(ParseSet(s));
    else if (word == "macro") LORRY_TRY(ParseMacro(s));
    else if (word == "with") LORRY_TRY(ParseWith(s));
    else if (word == "filter") LORRY_TRY(ParseFilterBlock(s));
    else if (word == "generation") LORRY_TRY(ParseGeneration(s));
    else if (word == "break" || word == "continue") {
      if (loops_ == 0) return Fault(fmt::format("{{% {} %}} outside of a for", word));
      s.kind = word == "break" ? StatementKind::kBreak : StatementKind::kContinue;
      LORRY_TRY(ExpectBlockEnd());
    } else {
      constexpr std::array<std::string_view, 9> kRefused = {"include", "import", "from", "extends", "block", "call", "do", "autoescape", "trans"};
      bool known = std::find(kRefused.begin(), kRefused.end(), word) != kRefused.end();
      return known ? Fault(fmt::format("{{% {} %}} is not in this version", word), ErrorCode::kUnsupported)
                   : Fault(fmt::format("unknown tag {{% {} %}}", word));
    }
    block.push_back(std::move(s));
    return OkStatus();
  }

  Status ParseIf(Statement& s) {
    s.kind = StatementKind::kIf;
    while (true) {
      Branch branch;
      LORRY_ASSIGN_OR_RETURN(branch.condition, ParseTuple());
      LORRY_TRY(ExpectBlockEnd());
      LORRY_ASSIGN_OR_RETURN(branch.body, ParseBlock({"elif", "else", "endif"}));
      s.branches.push_back(std::move(branch));
      if (TakeWord("elif")) continue;
      if (TakeWord("else")) {
        LORRY_TRY(ExpectBlockEnd());
        LORRY_ASSIGN_OR_RETURN(s.otherwise, ParseBlock({"endif"}));
      }
      Next();
      return ExpectBlockEnd();
    }
  }

  Status ParseNames(std::vector<std::string>& names) {
    bool bracket = TakeOp("(");
    do {
      if (!names.empty() && (IsOp("=") || IsWord("in"))) break;  // a comma at the end
      LORRY_ASSIGN_OR_RETURN(std::string name, ExpectName());
      names.push_back(std::move(name));
    } while (TakeOp(","));
    return bracket ? ExpectOp(")") : OkStatus();
  }

  Status ParseFor(Statement& s) {
    s.kind = StatementKind::kFor;
    LORRY_TRY(ParseNames(s.names));
    if (!TakeWord("in")) return Fault(fmt::format("in is expected, not {}", Shown()));
    LORRY_ASSIGN_OR_RETURN(s.value, ParseTuple(/*with_condition=*/false));
    if (TakeWord("if")) {
      LORRY_ASSIGN_OR_RETURN(s.condition, ParseExpr());
    }
    if (IsWord("recursive")) return Fault("a recursive for is not in this version", ErrorCode::kUnsupported);
    LORRY_TRY(ExpectBlockEnd());
    ++loops_;
    LORRY_ASSIGN_OR_RETURN(s.body, ParseBlock({"else", "endfor"}));
    --loops_;
    if (TakeWord("else")) {
      LORRY_TRY(ExpectBlockEnd());
      LORRY_ASSIGN_OR_RETURN(s.otherwise, ParseBlock({"endfor"}));
    }
    Next();
    return ExpectBlockEnd();
  }

  Status ParseSet(Statement& s) {
    LORRY_TRY(ParseNames(s.names));
    if (s.names.size() == 1 && TakeOp(".")) {
      LORRY_ASSIGN_OR_RETURN(s.attribute, ExpectName());
    }
    if (TakeOp("=")) {
      s.kind = StatementKind::kSet;
      LORRY_ASSIGN_OR_RETURN(s.value, ParseTuple());
      return ExpectBlockEnd();
    }
    s.kind = StatementKind::kSetBlock;
    if (s.names.size() != 1 || !s.attribute.empty()) return Fault(fmt::format("= is expected, not {}", Shown()));
    while (IsOp("|")) {
      LORRY_ASSIGN_OR_RETURN(s.value, ParseFilter(std::move(s.value)));
    }
    LORRY_TRY(ExpectBlockEnd());
    return ParseBody(s, "endset");
  }

  // What stands up to the tag `end`.
  Status ParseBody(Statement& s, std::string_view end) {
    LORRY_ASSIGN_OR_RETURN(s.body, ParseBlock({end}));
    Next();
    return ExpectBlockEnd();
  }

  Status ParseMacro(Statement& s) {
    s.kind = StatementKind::kMacro;
    LORRY_ASSIGN_OR_RETURN(s.text, ExpectName());
    LORRY_TRY(ExpectOp("("));
    while (!IsOp(")")) {
      LORRY_ASSIGN_OR_RETURN(std::string name, ExpectName());
      s.names.push_back(std::move(name));
      if (TakeOp("=")) {
        LORRY_ASSIGN_OR_RETURN(ExprPtr value, ParseExpr());
        s.defaults.push_back(std::move(value));
      } else if (!s.defaults.empty()) {
        return Fault("a parameter without a default behind one with");
      }
      if (!TakeOp(",")) break;
    }
    LORRY_TRY(ExpectOp(")"));
    LORRY_TRY(ExpectBlockEnd());
    int loops = std::exchange(loops_, 0);
    LORRY_TRY(ParseBody(s, "endmacro"));
    loops_ = loops;
    return OkStatus();
  }

  Status ParseWith(Statement& s) {
    s.kind = StatementKind::kWith;
    while (Now().kind != TokenKind::kBlockEnd) {
      LORRY_ASSIGN_OR_RETURN(std::string name, ExpectName());
      LORRY_TRY(ExpectOp("="));
      LORRY_ASSIGN_OR_RETURN(ExprPtr value, ParseExpr());
      s.names.push_back(std::move(name));
      s.defaults.push_back(std::move(value));
      if (!TakeOp(",")) break;
    }
    LORRY_TRY(ExpectBlockEnd());
    return ParseBody(s, "endwith");
  }

  Status ParseFilterBlock(Statement& s) {
    s.kind = StatementKind::kFilter;
    LORRY_ASSIGN_OR_RETURN(s.value, ParseFilterName(nullptr));
    while (IsOp("|")) {
      LORRY_ASSIGN_OR_RETURN(s.value, ParseFilter(std::move(s.value)));
    }
    LORRY_TRY(ExpectBlockEnd());
    return ParseBody(s, "endfilter");
  }

  Status ParseGeneration(Statement& s) {
    s.kind = StatementKind::kGeneration;
    has_generation_ = true;
    LORRY_TRY(ExpectBlockEnd());
    return ParseBody(s, "endgeneration");
  }

  // ---- expressions ----
  ExprPtr Make(ExprKind kind, std::string text = "") const {
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->line = Now().line;
    e->text = std::move(text);
    return e;
  }
  ExprPtr Constant(Value value) const {
    ExprPtr e = Make(ExprKind::kConstant);
    e->constant = std::move(value);
    return e;
  }
  ExprPtr Binary(std::string op, ExprPtr left, ExprPtr right) const {
    ExprPtr e = Make(ExprKind::kBinary, std::move(op));
    e->operands.push_back(std::move(left));
    e->operands.push_back(std::move(right));
    return e;
  }

  // An expression, or several with commas: a list.
  Result<ExprPtr> ParseTuple(bool with_condition = true) {
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

  Result<ExprPtr> ParseExpr() {
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

  Result<ExprPtr> ParseOr() { return ParseWords("or", &Parser::ParseAnd); }
  Result<ExprPtr> ParseAnd() { return ParseWords("and", &Parser::ParseNot); }
  Result<ExprPtr> ParseWords(const char* word, Result<ExprPtr> (Parser::*operand)()) {
    LORRY_ASSIGN_OR_RETURN(ExprPtr left, (this->*operand)());
    while (TakeWord(word)) {
      LORRY_ASSIGN_OR_RETURN(ExprPtr right, (this->*operand)());
      left = Binary(word, std::move(left), std::move(right));
    }
    return left;
  }
  Result<ExprPtr> ParseNot() {
    Depth depth(depth_);
    LORRY_TRY(CheckDepth());
    if (!TakeWord("not")) return ParseCompare();
    ExprPtr e = Make(ExprKind::kUnary, "not");
    LORRY_ASSIGN_OR_RETURN(ExprPtr operand, ParseNot());
    e->operands.push_back(std::move(operand));
    return e;
  }

  std::string TakeComparison() {
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
  Result<ExprPtr> ParseCompare() {
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

  // One level of left-associative operators.
  Result<ExprPtr> ParseLevel(Words ops, Result<ExprPtr> (Parser::*operand)()) {
    LORRY_ASSIGN_OR_RETURN(ExprPtr left, (this->*operand)());
    while (Now().kind == TokenKind::kOperator && std::find(ops.begin(), ops.end(), Now().text) != ops.end()) {
      std::string op = Now().text;
      Next();
      LORRY_ASSIGN_OR_RETURN(ExprPtr right, (this->*operand)());
      left = Binary(std::move(op), std::move(left), std::move(right));
    }
    return left;
  }
  Result<ExprPtr> ParseSum() { return ParseLevel({"+", "-"}, &Parser::ParseConcat); }
  Result<ExprPtr> ParseConcat() { return ParseLevel({"~"}, &Parser::ParseProduct); }
  Result<ExprPtr> ParseProduct() { return ParseLevel({"*", "/", "//", "%"}, &Parser::ParsePower); }
  Result<ExprPtr> ParsePower() { return ParseLevel({"**"}, &Parser::ParseSigned); }
  Result<ExprPtr> ParseSigned() { return ParseUnary(/*with_filter=*/true); }

  Result<ExprPtr> ParseUnary(bool with_filter) {
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

  Result<ExprPtr> ParsePrimary() {
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
      case TokenKind::kFloat: return ParseNumber(token);
      default: break;
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

  Result<ExprPtr> ParseNumber(const Token& token) {
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

  Result<ExprPtr> ParseItems(ExprKind kind, std::string_view close) {
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

  Result<ExprPtr> ParsePostfix(ExprPtr node) {
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
  Result<ExprPtr> ParseCall(ExprPtr function) {
    ExprPtr e = Make(ExprKind::kCall);
    e->operands.push_back(std::move(function));
    LORRY_TRY(ParseArguments(*e));
    return e;
  }

  Result<ExprPtr> ParseSubscript(ExprPtr node) {
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

  Status ParseArguments(Expr& e) {
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

  Result<ExprPtr> ParseFiltersAndTests(ExprPtr node) {
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

  Result<ExprPtr> ParseFilter(ExprPtr node) {
    Next();  // |
    return ParseFilterName(std::move(node));
  }
  Result<ExprPtr> ParseFilterName(ExprPtr node) {
    ExprPtr e = Make(ExprKind::kFilter);
    LORRY_ASSIGN_OR_RETURN(e->text, ExpectName());
    e->operands.push_back(std::move(node));
    if (IsOp("(")) LORRY_TRY(ParseArguments(*e));
    return e;
  }

  Result<ExprPtr> ParseTest(ExprPtr node) {
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
  bool BeginsTestArgument() const {
    if (Now().kind == TokenKind::kName) {
      constexpr std::array<std::string_view, 7> kNot = {"else", "or", "and", "if", "is", "in", "not"};
      return std::find(kNot.begin(), kNot.end(), Now().text) == kNot.end();
    }
    return Now().kind == TokenKind::kString || Now().kind == TokenKind::kInteger || Now().kind == TokenKind::kFloat || IsOp("[") || IsOp("{");
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  bool has_generation_ = false;
};

}  // namespace

Result<std::shared_ptr<const Template>> Parse(std::string_view source) {
  if (source.size() > kMaxSource) return MakeError(ErrorCode::kData, "a template of more than 1 MiB");
  LORRY_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  LORRY_ASSIGN_OR_RETURN(Template parsed, Parser(std::move(tokens)).Run());
  return std::shared_ptr<const Template>(std::make_shared<Template>(std::move(parsed)));
}

}  // namespace lorry::jinja
