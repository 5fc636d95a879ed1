#include "model/format/rows.h"

#include <algorithm>
#include <array>
#include <sstream>

#include <fmt/format.h>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format/row_json.h"

namespace lorry {

using nlohmann::ordered_json;

namespace {

constexpr size_t kMaxLine = size_t{64} << 20;
constexpr JsonLimits kRowLimits{.max_bytes = kMaxLine, .max_depth = 64};

// getline with a bound. False at the end of the input.
bool ReadLine(std::istream& in, std::string& line, bool& too_long) {
  line.clear();
  too_long = false;
  std::streambuf* buffer = in.rdbuf();
  int c = buffer->sbumpc();
  if (c == EOF) return false;
  for (; c != EOF && c != '\n'; c = buffer->sbumpc()) {
    if (line.size() < kMaxLine) {
      line += static_cast<char>(c);
    } else {
      too_long = true;
    }
  }
  return true;
}

bool IsBlank(std::string_view line) { return line.find_first_not_of(" \t\r\v\f") == std::string_view::npos; }

}  // namespace

Error RowError(const std::string& file, int64_t line, std::string key, std::string message, std::string hint) {
  Error error = MakeError(ErrorCode::kData, std::move(message), std::move(hint));
  error.file = file;
  error.line = static_cast<int>(line);
  error.key = std::move(key);
  return error;
}

Result<LineReader> LineReader::Open(const std::string& path) {
  if (!FileExists(path)) return Error{ErrorCode::kNotFound, "the file does not exist", "", path, 0, 0, ""};
  auto in = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*in) return ErrnoError("cannot open", path);
  if (std::filesystem::is_directory(path)) return Error{ErrorCode::kStorage, "a folder; a file is expected", "", path, 0, 0, ""};
  LineReader out;
  out.in_ = std::move(in);
  out.name_ = path;
  return out;
}

LineReader LineReader::OverText(std::string text, std::string name) {
  LineReader out;
  out.in_ = std::make_unique<std::istringstream>(std::move(text));
  out.name_ = std::move(name);
  return out;
}

Result<std::optional<TextLine>> LineReader::Next() {
  TextLine line;
  bool too_long = false;
  while (ReadLine(*in_, line.text, too_long)) {
    line.number = ++number_;
    if (number_ == 1 && line.text.compare(0, 3, "\xEF\xBB\xBF") == 0) line.text.erase(0, 3);
    if (too_long) return RowError(name_, number_, "", "a line of more than 64 MiB");
    if (!line.text.empty() && line.text.back() == '\r') line.text.pop_back();
    if (IsBlank(line.text)) continue;
    if (auto at = FirstInvalidUtf8(line.text)) {
      return RowError(name_, number_, "", fmt::format("byte {} of the line is not UTF-8", *at + 1), "save the file as UTF-8");
    }
    return std::optional<TextLine>(std::move(line));
  }
  return std::optional<TextLine>();
}

Result<ordered_json> ParseRowJson(std::string_view json, const std::string& file, int64_t line) {
  auto checked = ParseJson(json, kRowLimits);
  if (!checked.ok()) {
    Error error = checked.error();
    error.file = file;
    error.line = static_cast<int>(line);
    return error;
  }
  ordered_json row = ordered_json::parse(json, nullptr, false);
  if (!row.is_object()) return RowError(file, line, "", "a row is a JSON object");
  return row;
}

namespace {

// One turn: role and content; what else it has is kept.
Result<ChatMessage> ReadMessage(const ordered_json& json, const std::string& key, const std::string& file, int64_t line) {
  if (!json.is_object()) return RowError(file, line, key, "a turn is an object with role and content");
  ChatMessage out;
  ordered_json other = ordered_json::object();
  bool has_content = false;
  for (const auto& [name, value] : json.items()) {
    if (name == "role") {
      if (!value.is_string()) return RowError(file, line, key + ".role", "text is expected");
      out.role = value.get<std::string>();
    } else if (name == "content" && value.is_string()) {
      out.content = value.get<std::string>();
      has_content = true;
    } else {
      has_content = has_content || (name == "content" && value.is_array());
      if (name == "content" && !value.is_array() && !value.is_null()) {
        return RowError(file, line, key + ".content", "text is expected");
      }
      other[name] = value;
    }
  }
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  if (std::find(kRoles.begin(), kRoles.end(), out.role) == kRoles.end()) {
    return RowError(file, line, key + ".role",
                    out.role.empty() ? "is missing" : fmt::format("\"{}\" is not a role", EscapeControl(out.role)),
                    "roles are system, user, assistant and tool");
  }
  if (!has_content && !other.contains("tool_calls")) return RowError(file, line, key + ".content", "is missing");
  if (!has_content) other["content"] = nullptr;
  if (!other.empty()) out.other_fields = other.dump();
  return out;
}

}  // namespace

Result<std::vector<ChatMessage>> ReadMessages(const ordered_json& messages, const std::string& file, int64_t line) {
  if (!messages.is_array() || messages.empty()) return RowError(file, line, "messages", "a list of turns is expected");
  std::vector<ChatMessage> out;
  for (size_t i = 0; i < messages.size(); ++i) {
    LORRY_ASSIGN_OR_RETURN(ChatMessage message, ReadMessage(messages[i], fmt::format("messages[{}]", i), file, line));
    out.push_back(std::move(message));
  }
  return out;
}

Status CheckRoles(const std::vector<ChatMessage>& messages, const std::string& file, int64_t line) {
  std::string before;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string role = messages[i].role == "developer" ? "system" : messages[i].role;
    bool fits = role == "system"      ? i == 0
                : role == "user"      ? before.empty() || before == "system" || before == "assistant"
                : role == "assistant" ? before == "user" || before == "tool"
                                      : before == "assistant" || before == "tool";
    if (!fits) {
      std::string after = before.empty() ? "at the beginning" : "behind " + before;
      return RowError(file, line, fmt::format("messages[{}].role", i), fmt::format("{} {} is out of order", role, after),
                      "a system turn may come first; then user and assistant by turns");
    }
    before = role;
  }
  return OkStatus();
}

namespace {

Status ReadConversation(const ordered_json& json, TrainRow& row, const std::string& file) {
  LORRY_ASSIGN_OR_RETURN(row.messages, ReadMessages(json["messages"], file, row.line));
  LORRY_TRY(CheckRoles(row.messages, file, row.line));
  const ChatMessage& last = row.messages.back();
  const std::string key = fmt::format("messages[{}]", row.messages.size() - 1);
  if (last.role != "assistant") {
    return RowError(file, row.line, key + ".role", "the last turn is not the assistant's",
                    "a training row ends with the answer to learn");
  }
  if (last.content.empty() && last.other_fields.empty()) {
    return RowError(file, row.line, key + ".content", "the completion is empty");
  }
  if (auto tools = json.find("tools"); tools != json.end() && !tools->is_null()) {
    if (!tools->is_array()) return RowError(file, row.line, "tools", "a list is expected");
    row.tools = tools->dump();
  }
  return OkStatus();
}

Result<std::string> TextUnder(const ordered_json& json, const char* key, const std::string& file, int64_t line) {
  auto it = json.find(key);
  if (it == json.end()) return RowError(file, line, key, "is missing");
  if (!it->is_string()) return RowError(file, line, key, "text is expected");
  return it->get<std::string>();
}

}  // namespace

Result<TrainRow> ParseTrainRow(std::string_view text, const std::string& file, int64_t line) {
  LORRY_ASSIGN_OR_RETURN(ordered_json json, ParseRowJson(text, file, line));
  TrainRow row;
  row.line = line;
  const bool messages = json.contains("messages"), pair = json.contains("prompt") || json.contains("completion"),
             plain = json.contains("text");
  if (messages + pair + plain != 1) {
    return RowError(file, line, "",
                    messages + pair + plain == 0 ? "the row has no data that is known" : "the row has two forms at once",
                    "a row has messages, or prompt and completion, or text");
  }
  if (messages) {
    row.form = TrainForm::kMessages;
    LORRY_TRY(ReadConversation(json, row, file));
  } else if (pair) {
    row.form = TrainForm::kPromptCompletion;
    LORRY_ASSIGN_OR_RETURN(row.prompt, TextUnder(json, "prompt", file, line));
    LORRY_ASSIGN_OR_RETURN(row.completion, TextUnder(json, "completion", file, line));
    if (row.completion.empty()) return RowError(file, line, "completion", "is empty");
  } else {
    row.form = TrainForm::kText;
    LORRY_ASSIGN_OR_RETURN(row.text, TextUnder(json, "text", file, line));
    if (row.text.empty()) return RowError(file, line, "text", "is empty");
  }
  return row;
}

Result<RowReader> RowReader::Open(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(LineReader lines, LineReader::Open(path));
  return RowReader(std::move(lines));
}

Result<std::optional<TrainRow>> RowReader::Next() {
  LORRY_ASSIGN_OR_RETURN(std::optional<TextLine> line, lines_.Next());
  if (!line) {
    if (!form_) return Error{ErrorCode::kData, "the file has no rows", "", lines_.name(), 0, 0, ""};
    return std::optional<TrainRow>();
  }
  LORRY_ASSIGN_OR_RETURN(TrainRow row, ParseTrainRow(line->text, lines_.name(), line->number));
  if (form_ && *form_ != row.form) {
    constexpr const char* kNames[] = {"messages", "prompt and completion", "text"};
    return RowError(lines_.name(), line->number, "",
                    fmt::format("a row with {} in a file whose rows have {}", kNames[int(row.form)], kNames[int(*form_)]),
                    "a file holds one row form");
  }
  form_ = row.form;
  return std::optional<TrainRow>(std::move(row));
}

Result<LossOn> ParseLossOn(std::string_view word) {
  if (word == "completion") return LossOn::kCompletion;
  if (word == "assistant") return LossOn::kAssistant;
  if (word == "all") return LossOn::kAll;
  return MakeError(ErrorCode::kSpec, fmt::format("loss_on: {} is not one of completion, assistant, all", EscapeControl(word)));
}

Result<TooLong> ParseTooLong(std::string_view word) {
  if (word == "error") return TooLong::kError;
  if (word == "truncate") return TooLong::kTruncate;
  if (word == "drop") return TooLong::kDrop;
  return MakeError(ErrorCode::kSpec, fmt::format("too_long: {} is not one of error, truncate, drop", EscapeControl(word)));
}

}  // namespace lorry
