#include "model/format/jinja_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "model/format/jinja_expression_parser.h"

namespace lorry::jinja {
namespace {

constexpr size_t kMaxSource = 1 << 20;

class Parser : ExpressionParser {
 public:
  explicit Parser(std::vector<Token> tokens) : ExpressionParser(std::move(tokens)) {}

  Result<Template> Run() {
    LORRY_ASSIGN_OR_RETURN(Block body, ParseBlock({}));
    Template out;
    out.body = std::move(body);
    out.has_generation = has_generation_;
    return out;
  }

 private:
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
    if (word == "if") {
      LORRY_TRY(ParseIf(s));
    } else if (word == "for") {
      LORRY_TRY(ParseFor(s));
    } else if (word == "set") {
      LORRY_TRY(ParseSet(s));
    } else if (word == "macro") {
      LORRY_TRY(ParseMacro(s));
    } else if (word == "with") {
      LORRY_TRY(ParseWith(s));
    } else if (word == "filter") {
      LORRY_TRY(ParseFilterBlock(s));
    } else if (word == "generation") {
      LORRY_TRY(ParseGeneration(s));
    } else if (word == "break" || word == "continue") {
      if (loops_ == 0) return Fault(fmt::format("{{% {} %}} outside of a for", word));
      s.kind = word == "break" ? StatementKind::kBreak : StatementKind::kContinue;
      LORRY_TRY(ExpectBlockEnd());
    } else {
      constexpr std::array<std::string_view, 9> kRefused = {"include", "import", "from",       "extends", "block",
                                                            "call",    "do",     "autoescape", "trans"};
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
