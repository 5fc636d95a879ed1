// A parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/format/jinja_value.h"

namespace lorry::jinja {

enum class ExprKind {
  kConstant,   // constant
  kName,       // text
  kList,       // operands; a tuple too
  kDict,       // operands: key, value, key, value, ...
  kUnary,      // text: "-", "+", "not"; operands[0]
  kBinary,     // text: + - * / // % ** ~ and or; operands[0], [1]
  kCompare,    // operands[0] ops[0] operands[1] ops[1] ...; ops: == != < <= > >= in, not in
  kCondition,  // operands: then, condition, else (absent: undefined)
  kAttribute,  // operands[0].text
  kItem,       // operands[0][operands[1]]
  kSlice,      // operands[0][operands[1]:operands[2]:operands[3]], each null where left out
  kCall,       // operands[0](operands[1..], named)
  kFilter,     // operands[0] | text(operands[1..], named)
  kTest,       // operands[0] is text(operands[1..])
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;
struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int line = 0;
  std::string text;
  Value constant;
  std::vector<std::string> ops;
  std::vector<ExprPtr> operands;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Statement;
using Block = std::vector<Statement>;

enum class StatementKind {
  kText,        // text
  kOutput,      // value
  kIf,          // branches: condition and block; otherwise
  kFor,         // names in value [if condition]: body; otherwise
  kSet,         // names (or target ns.attribute) = value
  kSetBlock,    // names[0] = body, through the filters of value (its innermost operand is left null), or plain
  kMacro,       // text(names with defaults): body
  kWith,        // names = values: body
  kFilter,      // body through the filters of value
  kGeneration,  // body
  kBreak,
  kContinue,
};

struct Branch;
struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text;
  std::vector<std::string> names;
  std::string attribute;  // kSet: names[0].attribute
  ExprPtr value, condition;
  std::vector<ExprPtr> defaults;  // kMacro: of the last parameters; kWith: the values
  Block body, otherwise;
  std::vector<Branch> branches;
};
struct Branch {
  ExprPtr condition;
  Block body;
};

struct Template {
  Block body;
  bool has_generation = false;
};

}  // namespace lorry::jinja
