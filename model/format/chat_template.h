// Chat templates: the Jinja that the templates of Llama 2 and 3, Qwen 2 and 3, Mistral and SmolLM are written in, rendered as
// transformers does (trim_blocks and lstrip_blocks on; raise_exception, strftime_now, tojson, namespace, loop controls and
// {% generation %}). The language as it is supported stands in docs/formats/chat-template.md.
//
// A template comes with a model and is not trusted: it can reach nothing but its variables, and steps, output, depth and
// list sizes are limited, so that rendering always ends.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace lorry {

class Tokenizer;
namespace jinja {
struct Template;
}

// One turn. What a row says beyond role and content (tool_calls, name, reasoning_content, a content that is a list of parts)
// is kept as JSON text and seen by the template under its own names; "content": null there says that the turn has none.
struct ChatMessage {
  std::string role;
  std::string content;
  std::string other_fields;  // a JSON object, or empty
};

struct ChatRenderOptions {
  bool add_generation_prompt = false;
  std::string tools;      // a JSON array, or empty
  std::string variables;  // a JSON object of further variables (chat_template_kwargs), or empty
  // What strftime_now reads, in UTC. Absent: the template does not see strftime_now and falls back on its own date, so that
  // the same row always renders the same.
  std::optional<Instant> now;
};

// Bytes [begin, end) of the rendered text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

struct RenderedChat {
  std::string text;
  std::vector<TextSpan> generation;  // what stood inside {% generation %}, in order
};

// Threads: const members may be called from any thread.
class ChatTemplate {
 public:
  // kData with line and column where the template is not of the language; `name` stands in error texts.
  static Result<ChatTemplate> Parse(std::string_view text, const std::string& name);
  // chat_template.jinja, else chat_template (or its entry "default") of tokenizer_config.json. kNotFound if there is none.
  static Result<ChatTemplate> FromDirectory(const std::filesystem::path& dir);
  // Its text alone, whether or not it is of the language: what other programs are handed. kNotFound if there is none.
  static Result<std::string> TextOfDirectory(const std::filesystem::path& dir);

  // bos_token, eos_token, pad_token and unk_token as the template sees them; without it they are undefined.
  void UseSpecialTokensOf(const Tokenizer& tokenizer);

  // kData: raise_exception, an undefined value used, a limit. The text names the template and the line.
  Result<RenderedChat> Render(const std::vector<ChatMessage>& messages, const ChatRenderOptions& options) const;
  // Any template over a JSON object of variables: prompts of batch jobs ("{{ text }}"). Here an undefined variable is an
  // error that names it (kData).
  Result<std::string> RenderVariables(std::string_view variables_json) const;

  bool has_generation_blocks() const;
  const std::string& text() const { return text_; }

 private:
  ChatTemplate() = default;
  std::string text_, name_;
  std::string special_tokens_;  // JSON object
  std::shared_ptr<const jinja::Template> parsed_;
};

}  // namespace lorry
