// The one file that knows yaml-cpp. Its event interface is used, not its node tree: the tree loses repeated keys and tags.
#include "configs/yaml_document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "configs/yaml_scalar.h"

namespace lorry {
namespace {

using Kind = YamlNode::Kind;

// Byte offsets into one text, as lines and columns in code points.
class LineIndex {
 public:
  explicit LineIndex(std::string_view text) : text_(text) {
    starts_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') starts_.push_back(i + 1);
    }
  }

  SourcePosition At(size_t offset) const {
    offset = std::min(offset, text_.size());
    const auto next = std::upper_bound(starts_.begin(), starts_.end(), offset);
    const size_t line = static_cast<size_t>(next - starts_.begin());
    int column = 1;
    for (size_t i = starts_[line - 1]; i < offset; ++i) {
      if ((static_cast<unsigned char>(text_[i]) & 0xC0) != 0x80) ++column;
    }
    return {static_cast<int>(line), column};
  }

 private:
  std::string_view text_;
  std::vector<size_t> starts_;
};

// Ends the parse from inside a callback; caught in Parse, never seen outside this file.
struct Stop {
  size_t offset;
  std::string message;
  std::string hint;
};

// Where the text of a quoted scalar that opens at `at` ends, or npos if nobody closes it.
size_t ClosingQuote(std::string_view text, size_t at) {
  const char quote = text[at];
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 >= text.size() || text[i + 1] != '\'') return i;
      ++i;
    }
  }
  return std::string_view::npos;
}

// Skips anchors and blanks before a node's own text.
size_t SkipProperties(std::string_view text, size_t at) {
  while (at < text.size()) {
    const char c = text[at];
    if (c == '&') {
      while (at < text.size() && text[at] != ' ' && text[at] != '\t' && text[at] != '\n' && text[at] != '\r') ++at;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      ++at;
    } else {
      break;
    }
  }
  return at;
}

// A node and what the limits need to know about it once aliases are followed.
struct Built {
  YamlNodePtr node;
  int64_t nodes = 1;
  int depth = 0;  // levels of lists and maps from here down
};

// Builds the tree from yaml-cpp's events: one frame for each collection that is still open.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const LineIndex& lines, std::string file, std::string origin)
      : text_(text), lines_(lines), file_(std::move(file)), origin_(std::move(origin)) {}

  const YamlNodePtr& root() const { return root_.node; }
  std::vector<Error> TakeProblems() { return std::move(problems_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Stop{Offset(mark), "a second document begins", "one file holds one document"};
  }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark&, const std::string&) override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    // yaml-cpp puts a value that is not there at the next token; the key is where a person looks.
    const bool empty = !PlainTextIs(Offset(mark), "null") && !PlainTextIs(Offset(mark), "~");
    auto node = NewNode(mark);
    if (empty && !frames_.empty() && frames_.back().has_key) node->at = frames_.back().key_at;
    if (PlainTextIs(Offset(mark), "~")) Refuse(*node, "~", "write null for no value");
    Add({std::move(node), 1, 0}, mark, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = std::find_if(anchors_.begin(), anchors_.end(), [&](const auto& a) { return a.first == anchor; });
    if (found == anchors_.end()) throw Stop{Offset(mark), "this alias lies inside its own anchor", "write the value out"};
    Add(found->second, mark, 0);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    auto node = NewNode(mark);
    node->text = value;
    node->kind = Kind::kText;
    const size_t at = SkipProperties(text_, Offset(mark));
    const char first = at < text_.size() ? text_[at] : '\0';
    const bool quoted = tag == "!" && (first == '"' || first == '\'' || first == '|' || first == '>');
    if (!quoted && tag != "?" && !tag.empty()) {
      Refuse(*node, "a tag", "tags are not read; quote text, write numbers plainly");
    } else if ((first == '"' || first == '\'') && quoted && ClosingQuote(text_, at) == std::string_view::npos) {
      throw Stop{at, "this quote is never closed", fmt::format("end the text with {}", first)};
    } else if (!quoted) {
      Classify(*node);
    }
    Add({std::move(node), 1, 0}, mark, anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    std::shared_ptr<YamlNode> node;
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    int64_t nodes = 1;
    int depth = 1;
    bool has_key = false;  // a map whose next node is a value
    bool skip_value = false;
    std::string key;
    SourcePosition key_at;
  };

  static size_t Offset(const YAML::Mark& mark) { return mark.pos < 0 ? 0 : static_cast<size_t>(mark.pos); }

  bool PlainTextIs(size_t at, std::string_view word) const {
    at = SkipProperties(text_, at);
    return text_.substr(std::min(at, text_.size()), word.size()) == word;
  }

  std::shared_ptr<YamlNode> NewNode(const YAML::Mark& mark) const {
    auto node = std::make_shared<YamlNode>();
    if (origin_.empty()) node->at = lines_.At(Offset(mark));
    node->origin = origin_;
    return node;
  }

  // The key path of the node that comes next: "training.learning_rate", "after[2]".
  std::string Path() const {
    std::string path;
    for (const Frame& frame : frames_) {
      if (frame.node->kind == Kind::kList) {
        path += fmt::format("[{}]", frame.node->items.size());
      } else if (frame.has_key) {
        path += (path.empty() ? "" : ".") + frame.key;
      }
    }
    return path;
  }

  void Problem(SourcePosition at, std::string key, std::string message, std::string hint) {
    Error error = MakeError(ErrorCode::kSpec, std::move(message), std::move(hint));
    error.file = origin_.empty() ? file_ : origin_;
    error.line = at.line;
    error.column = at.column;
    error.key = std::move(key);
    problems_.push_back(std::move(error));
  }

  void Refuse(YamlNode& node, std::string_view what, std::string hint) {
    node.refused = true;
    Problem(node.at, Path(), fmt::format("{} is not a value of JSON", what), std::move(hint));
  }

  void Classify(YamlNode& node) {
    const bool is_key = !frames_.empty() && frames_.back().node->kind == Kind::kMap && !frames_.back().has_key;
    if (is_key) return;  // keys are text, however they are written
    PlainScalar plain = ClassifyPlainScalar(node.text);
    node.kind = plain.kind;
    if (!plain.refusal.empty()) Refuse(node, EscapeControl(node.text, 80), std::move(plain.refusal));
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Kind kind) {
    if (frames_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      throw Stop{Offset(mark), fmt::format("deeper than {} levels", kMaxYamlDepth), ""};
    }
    auto node = NewNode(mark);
    node->kind = kind;
    if (!tag.empty() && tag != "?") Refuse(*node, "a tag", "tags are not read");
    Frame frame;
    frame.node = std::move(node);
    frame.mark = mark;
    frame.anchor = anchor;
    frames_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    Add({std::move(frame.node), frame.nodes, frame.depth}, frame.mark, frame.anchor);
  }

  // Puts a finished node where it belongs: a key, a value, an item, or the root.
  void Add(Built built, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_.emplace_back(anchor, built);
    if (built.nodes > kMaxYamlNodes) {
      throw Stop{Offset(mark), fmt::format("more than {} nodes", kMaxYamlNodes), "aliases count each time they are used"};
    }
    if (frames_.empty()) {
      root_ = std::move(built);
      return;
    }
    if (static_cast<int>(frames_.size()) + built.depth > kMaxYamlDepth) {
      throw Stop{Offset(mark), fmt::format("deeper than {} levels", kMaxYamlDepth), ""};
    }
    Frame& frame = frames_.back();
    frame.nodes += built.nodes;
    frame.depth = std::max(frame.depth, built.depth + 1);
    if (frame.nodes > kMaxYamlNodes) {
      throw Stop{Offset(mark), fmt::format("more than {} nodes", kMaxYamlNodes), "aliases count each time they are used"};
    }
    if (frame.node->kind == Kind::kList) {
      frame.node->items.push_back(std::move(built.node));
    } else if (!frame.has_key) {
      TakeKey(frame, *built.node, mark);
    } else {
      if (!frame.skip_value) frame.node->members.push_back({frame.key, frame.key_at, std::move(built.node)});
      frame.has_key = false;
    }
  }

  void TakeKey(Frame& frame, const YamlNode& key, const YAML::Mark& mark) {
    if (key.kind == Kind::kList || key.kind == Kind::kMap) throw Stop{Offset(mark), "a key must be text", ""};
    if (key.kind == Kind::kNull) throw Stop{Offset(mark), "a key is missing before the colon", ""};
    const YamlMember* first = frame.node->Find(key.text);
    frame.key = key.text;
    frame.key_at = origin_.empty() ? lines_.At(Offset(mark)) : SourcePosition{};
    frame.has_key = true;
    frame.skip_value = first != nullptr || key.text == "<<";
    if (key.text == "<<") {
      Problem(frame.key_at, Path(), "merge keys are not read", "write the keys out");
    } else if (first != nullptr) {
      Problem(frame.key_at, Path(), fmt::format("repeated key; it stands on line {} already", first->at.line),
              "keep one of them");
    }
  }

  std::string_view text_;
  const LineIndex& lines_;
  std::string file_;
  std::string origin_;
  int documents_ = 0;
  Built root_;
  std::vector<Frame> frames_;
  std::vector<std::pair<YAML::anchor_t, Built>> anchors_;
  std::vector<Error> problems_;
};

Error SyntaxError(const std::string& file, SourcePosition at, std::string message, std::string hint) {
  Error error = MakeError(ErrorCode::kSpec, std::move(message), std::move(hint));
  error.file = file;
  error.line = at.line;
  error.column = at.column;
  return error;
}

// What must hold before yaml-cpp sees the text: it ends silently at 0x04, guesses encodings, and knows directives.
void CheckCharacters(std::string_view text) {
  if (text.size() > kMaxYamlBytes) {
    throw Stop{0, fmt::format("the file has {} bytes", text.size()), "a YAML file has at most 1 MiB"};
  }
  if (const auto bad = FirstInvalidUtf8(text)) throw Stop{*bad, "the text is not UTF-8 here", "save the file as UTF-8"};
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    const bool lone_return = c == '\r' && (i + 1 >= text.size() || text[i + 1] != '\n');
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F || lone_return) {
      throw Stop{i, fmt::format("control character 0x{:02X}", c), "write it as an escape inside double quotes"};
    }
  }
  size_t at = 0;
  while (at < text.size()) {
    size_t end = text.find('\n', at);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view line = text.substr(at, end - at);
    const size_t first = line.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && line[first] != '#') {
      if (line[0] == '%') throw Stop{at, "directives are not read", "take this line out"};
      return;
    }
    at = end + 1;
  }
}

YamlDocument Parse(std::string_view text, const std::string& file, const std::string& origin) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  const LineIndex lines(text.substr(0, kMaxYamlBytes));
  const std::string& name = origin.empty() ? file : origin;
  auto position = [&](size_t offset) { return origin.empty() ? lines.At(offset) : SourcePosition{}; };
  YamlDocument document;
  try {
    CheckCharacters(text);
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(text, lines, file, origin);
    while (parser.HandleNextDocument(builder)) {
    }
    document.problems = builder.TakeProblems();
    document.root = builder.root();
    if (document.root == nullptr) document.problems = {SyntaxError(name, position(0), "the file is empty", "")};
  } catch (const Stop& stop) {
    document.root = nullptr;
    document.problems = {SyntaxError(name, position(stop.offset), stop.message, stop.hint)};
  } catch (const YAML::Exception& e) {
    document.root = nullptr;
    const size_t offset = e.mark.pos < 0 ? text.size() : static_cast<size_t>(e.mark.pos);
    document.problems = {SyntaxError(name, position(offset), "not YAML: " + e.msg, "")};
  }
  return document;
}

Result<YamlNodePtr> Replaced(const YamlNode& node, std::string_view path, std::string_view whole, const YamlNodePtr& value) {
  const size_t dot = path.find('.');
  const std::string key(path.substr(0, dot));
  if (key.empty()) {
    return MakeError(ErrorCode::kSpec, fmt::format("--set {}: an empty key", EscapeControl(whole)),
                     "write --set section.key=value");
  }
  if (node.kind != Kind::kMap && node.kind != Kind::kNull) {
    return MakeError(ErrorCode::kSpec, fmt::format("--set {}: what stands before \"{}\" is {}, not a mapping",
                                                   EscapeControl(whole), EscapeControl(key), KindName(node.kind)));
  }
  auto copy = std::make_shared<YamlNode>(node);
  copy->kind = Kind::kMap;
  auto member = std::find_if(copy->members.begin(), copy->members.end(), [&](const YamlMember& m) { return m.key == key; });
  YamlNodePtr inner = value;
  if (dot != std::string_view::npos) {
    auto empty = std::make_shared<YamlNode>();
    empty->kind = Kind::kMap;
    empty->origin = value->origin;
    const YamlNodePtr below = member == copy->members.end() ? empty : member->value;
    LORRY_ASSIGN_OR_RETURN(inner, Replaced(*below, path.substr(dot + 1), whole, value));
  }
  if (member == copy->members.end()) {
    copy->members.push_back({key, {}, inner});
  } else {
    member->value = inner;
  }
  return YamlNodePtr(copy);
}

}  // namespace

const YamlMember* YamlNode::Find(std::string_view key) const {
  for (const YamlMember& member : members) {
    if (member.key == key) return &member;
  }
  return nullptr;
}

std::string_view KindName(YamlNode::Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kBool:
      return "true or false";
    case Kind::kNumber:
      return "a number";
    case Kind::kText:
      return "text";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a mapping";
  }
  return "";
}

YamlDocument ReadYaml(std::string_view text, const std::string& file) { return Parse(text, file, ""); }

Result<YamlNodePtr> ReadYamlValue(std::string_view text, const std::string& origin) {
  if (text.empty()) text = "\"\"";
  YamlDocument document = Parse(text, "", origin);
  if (!document.problems.empty()) return document.problems.front();
  return document.root;
}

Result<YamlNodePtr> WithValueAt(const YamlNodePtr& root, std::string_view path, const YamlNodePtr& value) {
  return Replaced(*root, path, path, value);
}

}  // namespace lorry
