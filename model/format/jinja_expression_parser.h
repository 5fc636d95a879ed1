// Reads the tokens of a template, and the expressions among them; jinja_parser.cc builds the statements on it. A parser reads one
// list of tokens once, in one thread. Errors: kData or kUnsupported, with the line.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/format/jinja_ast.h"
#include "model/format/jinja_lexer.h"

namespace lorry::jinja {

class ExpressionParser {
 protected:
  using Words = std::initializer_list<std::string_view>;

  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  ~ExpressionParser() = default;

  // Tokens. Take... steps over what it finds and says whether it did; Expect... fails where it does not.
  const Token& Now() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Next() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  bool IsOp(std::string_view op) const { return Now().kind == TokenKind::kOperator && Now().text == op; }
  bool IsWord(std::string_view word) const { return Now().kind == TokenKind::kName && Now().text == word; }
  bool TakeOp(std::string_view op) { return IsOp(op) && (Next(), true); }
  bool TakeWord(std::string_view word) { return IsWord(word) && (Next(), true); }
  Status ExpectOp(std::string_view op);
  Result<std::string> ExpectName();
  Status ExpectBlockEnd();
  Error Fault(std::string what, ErrorCode code = ErrorCode::kData) const;
  std::string Shown() const;  // the current token, for a message

  // Held while something that may nest is parsed, so that a hostile template cannot overflow the stack.
  struct Depth {
    explicit Depth(int& depth) : of(depth) { ++of; }
    ~Depth() { --of; }
    int& of;
  };
  Status CheckDepth() const;

  // An expression, or several with commas: a list.
  Result<ExprPtr> ParseTuple(bool with_condition = true);
  Result<ExprPtr> ParseExpr();
  Result<ExprPtr> ParseFilter(ExprPtr node);      // the current token is |
  Result<ExprPtr> ParseFilterName(ExprPtr node);  // the current token is the filter's name

  int depth_ = 0;

 private:
  using Operand = Result<ExprPtr> (ExpressionParser::*)();

  ExprPtr Make(ExprKind kind, std::string text = "") const;
  ExprPtr Constant(Value value) const;
  ExprPtr Binary(std::string op, ExprPtr left, ExprPtr right) const;

  // From the loosest binding to the tightest.
  Result<ExprPtr> ParseOr() { return ParseWords("or", &ExpressionParser::ParseAnd); }
  Result<ExprPtr> ParseAnd() { return ParseWords("and", &ExpressionParser::ParseNot); }
  Result<ExprPtr> ParseWords(const char* word, Operand operand);
  Result<ExprPtr> ParseNot();
  Result<ExprPtr> ParseCompare();
  std::string TakeComparison();
  Result<ExprPtr> ParseLevel(Words ops, Operand operand);  // one level of left-associative operators
  Result<ExprPtr> ParseSum() { return ParseLevel({"+", "-"}, &ExpressionParser::ParseConcat); }
  Result<ExprPtr> ParseConcat() { return ParseLevel({"~"}, &ExpressionParser::ParseProduct); }
  Result<ExprPtr> ParseProduct() { return ParseLevel({"*", "/", "//", "%"}, &ExpressionParser::ParsePower); }
  Result<ExprPtr> ParsePower() { return ParseLevel({"**"}, &ExpressionParser::ParseSigned); }
  Result<ExprPtr> ParseSigned() { return ParseUnary(/*with_filter=*/true); }
  Result<ExprPtr> ParseUnary(bool with_filter);
  Result<ExprPtr> ParsePrimary();
  Result<ExprPtr> ParseNumber(const Token& token);
  Result<ExprPtr> ParseItems(ExprKind kind, std::string_view close);
  Result<ExprPtr> ParsePostfix(ExprPtr node);
  Result<ExprPtr> ParseCall(ExprPtr function);
  Result<ExprPtr> ParseSubscript(ExprPtr node);
  Status ParseArguments(Expr& e);
  Result<ExprPtr> ParseFiltersAndTests(ExprPtr node);
  Result<ExprPtr> ParseTest(ExprPtr node);
  bool BeginsTestArgument() const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace lorry::jinja
