#include "model/format/chat_template.h"

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format/jinja_interpreter.h"
#include "model/format/jinja_parser.h"
#include "model/format/tokenizer.h"
#include "model/format/unicode_regex.h"

namespace lorry {
namespace {

constexpr int64_t kMaxFile = int64_t{4} << 20;

Error In(const std::string& name, Error error) {
  if (error.file.empty()) error.file = name;
  return error;
}

// chat_template of tokenizer_config.json: text, or a list of {name, template}.
std::string TemplateOf(const nlohmann::json& config) {
  auto it = config.find("chat_template");
  if (it == config.end()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) return "";
  for (const auto& entry : *it) {
    if (!entry.is_object() || entry.value("name", nlohmann::json()) != "default") continue;
    if (auto text = entry.find("template"); text != entry.end() && text->is_string()) return text->get<std::string>();
  }
  return "";
}

struct Source {
  std::string text, file;
};

Result<Source> ReadSource(const std::filesystem::path& dir) {
  const std::string file = dir / "chat_template.jinja";
  if (FileExists(file)) {
    LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(file, kMaxFile));
    return Source{std::move(text), file};
  }
  const std::string config_file = dir / "tokenizer_config.json";
  if (FileExists(config_file)) {
    LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(config_file, int64_t{64} << 20));
    auto config = ParseJson(text);
    if (!config.ok()) return In(config_file, config.error());
    if (std::string found = config->is_object() ? TemplateOf(*config) : ""; !found.empty()) return Source{found, config_file};
  }
  return In(dir, MakeError(ErrorCode::kNotFound, "the model has no chat template",
                           "use rows with prompt and completion, or put a chat_template.jinja into the model's directory"));
}

// The turn as transformers hands it to a template: members that are null are left out, so that a template's tests for "defined"
// hold for both ways of saying "nothing"; and reasoning stands under the name that newer templates read and that of gpt-oss,
// whichever of its three names the row has.
Result<jinja::Value> MessageValue(const ChatMessage& message) {
  jinja::Value other;
  if (!message.other_fields.empty()) {
    LORRY_ASSIGN_OR_RETURN(other, jinja::FromJson(message.other_fields));
  }
  const jinja::Dict none;
  const jinja::Dict& fields = other.IfDict() ? *other.IfDict() : none;
  jinja::Dict dict;
  const jinja::Value* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const jinja::Value* found = fields.Find(name);
    if (reasoning == nullptr && found != nullptr && !found->IsNone()) reasoning = found;
  }
  if (reasoning != nullptr) dict.Set("thinking", *reasoning);
  dict.Set("role", jinja::Value::Text(ReplaceInvalidUtf8(message.role)));
  if (fields.Find("content") == nullptr) dict.Set("content", jinja::Value::Text(ReplaceInvalidUtf8(message.content)));
  for (const auto& [key, value] : fields.items) {
    if (!value.IsNone()) dict.Set(key, value);
  }
  if (reasoning != nullptr) dict.Set("reasoning_content", *reasoning);
  return jinja::Value::OfDict(std::move(dict));
}

// Puts the members of a JSON object among the variables.
Status AddMembers(const std::string& json, jinja::Dict& variables) {
  if (json.empty()) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(jinja::Value object, jinja::FromJson(json));
  if (!object.IfDict()) return MakeError(ErrorCode::kData, "variables of a template: an object is expected");
  for (const auto& [key, value] : object.IfDict()->items) variables.Set(key, value);
  return OkStatus();
}

}  // namespace

Result<ChatTemplate> ChatTemplate::Parse(std::string_view text, const std::string& name) {
  if (!IsValidUtf8(text)) return In(name, MakeError(ErrorCode::kData, "the template is not UTF-8"));
  ChatTemplate out;
  auto parsed = jinja::Parse(text);
  if (!parsed.ok()) return In(name, parsed.error());
  out.parsed_ = std::move(*parsed);
  out.text_ = text;
  out.name_ = name;
  return out;
}

Result<ChatTemplate> ChatTemplate::FromDirectory(const std::filesystem::path& dir) {
  LORRY_ASSIGN_OR_RETURN(const Source source, ReadSource(dir));
  return Parse(source.text, source.file);
}

Result<std::string> ChatTemplate::TextOfDirectory(const std::filesystem::path& dir) {
  LORRY_ASSIGN_OR_RETURN(Source source, ReadSource(dir));
  return std::move(source.text);
}

void ChatTemplate::UseSpecialTokensOf(const Tokenizer& tokenizer) {
  nlohmann::json tokens = nlohmann::json::object();
  auto add = [&](const char* name, const std::optional<SpecialToken>& token) {
    if (token) tokens[name] = token->text;
  };
  add("bos_token", tokenizer.bos());
  add("eos_token", tokenizer.eos());
  add("pad_token", tokenizer.pad());
  add("unk_token", tokenizer.unk());
  special_tokens_ = tokens.dump();
}

Result<RenderedChat> ChatTemplate::Render(const std::vector<ChatMessage>& messages, const ChatRenderOptions& options) const {
  jinja::Dict variables;
  jinja::List list;
  for (const ChatMessage& message : messages) {
    LORRY_ASSIGN_OR_RETURN(jinja::Value value, MessageValue(message));
    list.push_back(std::move(value));
  }
  variables.Set("messages", jinja::Value::OfList(std::move(list)));
  variables.Set("tools", jinja::Value::NoneValue());
  variables.Set("documents", jinja::Value::NoneValue());
  variables.Set("add_generation_prompt", jinja::Value::Bool(options.add_generation_prompt));
  if (!options.tools.empty()) {
    LORRY_ASSIGN_OR_RETURN(jinja::Value tools, jinja::FromJson(options.tools));
    variables.Set("tools", std::move(tools));
  }
  LORRY_TRY(AddMembers(special_tokens_, variables));
  LORRY_TRY(AddMembers(options.variables, variables));
  auto rendered = jinja::Run(*parsed_, std::move(variables), {.strict = false, .now = options.now});
  if (!rendered.ok()) return In(name_, rendered.error());
  return rendered;
}

Result<std::string> ChatTemplate::RenderVariables(std::string_view variables_json) const {
  jinja::Dict variables;
  LORRY_TRY(AddMembers(std::string(variables_json), variables));
  auto rendered = jinja::Run(*parsed_, std::move(variables), {.strict = true, .now = std::nullopt});
  if (!rendered.ok()) return In(name_, rendered.error());
  return std::move(rendered->text);
}

bool ChatTemplate::has_generation_blocks() const { return parsed_->has_generation; }

}  // namespace lorry
