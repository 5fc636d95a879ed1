// Training rows as token ids with a loss mask.
#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "model/format/row_json.h"
#include "model/format/rows.h"

namespace lorry {
namespace {

// Encodes one row; what it is made of is shared by the functions below.
class RowEncoder {
 public:
  RowEncoder(const TrainRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template, const EncodeRowOptions& options)
      : row_(row), tokenizer_(tokenizer), template_(chat_template), options_(options) {}

  Result<std::string> Render() {
    switch (row_.form) {
      case TrainForm::kText:
        return row_.text;
      case TrainForm::kPromptCompletion:
        return row_.prompt + row_.completion;
      case TrainForm::kMessages: {
        LORRY_ASSIGN_OR_RETURN(RenderedChat chat, RenderChat(row_.messages.size(), false));
        return std::move(chat.text);
      }
    }
    return MakeError(ErrorCode::kInternal, "a row of no form");
  }

  Result<EncodedRow> Encode() {
    Status status = row_.form == TrainForm::kMessages ? EncodeChat() : EncodeText();
    if (!status.ok()) return status.error();
    out_.full_length = static_cast<int64_t>(out_.ids.size());
    if (!out_.loss_mask.empty()) out_.loss_mask[0] = 0;
    LORRY_TRY(Limit());
    return std::move(out_);
  }

 private:
  Error Fault(std::string key, std::string message, std::string hint = "") const {
    return RowError(options_.file, row_.line, std::move(key), std::move(message), std::move(hint));
  }
  Error AtRow(Error error) const {
    std::string where =
        error.file.empty() ? "" : fmt::format(" ({}{})", error.file, error.line > 0 ? fmt::format(":{}", error.line) : "");
    return Fault(error.key, error.message + where, error.hint);
  }

  // The first `turns` turns through the chat template.
  Result<RenderedChat> RenderChat(size_t turns, bool generation_prompt) const {
    if (template_ == nullptr) {
      return Fault("messages", "the model has no chat template",
                   "use rows with prompt and completion, or add a chat_template.jinja to the model");
    }
    ChatRenderOptions chat = options_.chat;
    chat.add_generation_prompt = generation_prompt;
    chat.tools = row_.tools;
    auto rendered = template_->Render({row_.messages.begin(), row_.messages.begin() + turns}, chat);
    if (!rendered.ok()) return AtRow(rendered.error());
    return rendered;
  }
  Result<std::vector<TokenId>> Ids(std::string_view text, bool special) const {
    auto ids = tokenizer_.Encode(text, special);
    if (!ids.ok()) return AtRow(ids.error());
    return ids;
  }

  Status EncodeText() {
    LORRY_ASSIGN_OR_RETURN(std::string text, Render());
    LORRY_ASSIGN_OR_RETURN(out_.ids, Ids(text, true));
    if (row_.form == TrainForm::kText) {
      out_.loss_mask.assign(out_.ids.size(), 1);
      return OkStatus();
    }
    if (!tokenizer_.eos_id()) return Fault("completion", "the tokenizer names no end-of-sequence token");
    out_.ids.push_back(*tokenizer_.eos_id());
    LORRY_ASSIGN_OR_RETURN(size_t prompt, PrefixLength(row_.prompt, true));
    out_.loss_mask.assign(out_.ids.size(), 1);
    if (options_.loss_on != LossOn::kAll) std::fill_n(out_.loss_mask.begin(), prompt, 0);
    return OkStatus();
  }

  Status EncodeChat() {
    LORRY_ASSIGN_OR_RETURN(RenderedChat chat, RenderChat(row_.messages.size(), false));
    text_ = std::move(chat.text);
    LORRY_ASSIGN_OR_RETURN(out_.ids, Ids(text_, false));
    out_.loss_mask.assign(out_.ids.size(), options_.loss_on == LossOn::kAll ? 1 : 0);
    if (options_.loss_on == LossOn::kAll) return OkStatus();
    if (options_.loss_on == LossOn::kAssistant && template_->has_generation_blocks()) return MarkSpans(chat.generation);
    const size_t turns = row_.messages.size();
    for (size_t i = options_.loss_on == LossOn::kCompletion ? turns - 1 : 0; i < turns; ++i) {
      if (row_.messages[i].role == "assistant") LORRY_TRY(MarkTurn(i));
    }
    return OkStatus();
  }

  // The tokens from the generation prompt before an answer to the answer's end.
  Status MarkTurn(size_t turn) {
    LORRY_ASSIGN_OR_RETURN(RenderedChat before, RenderChat(turn, true));
    LORRY_ASSIGN_OR_RETURN(size_t begin, PrefixLength(before.text, false));
    size_t end = out_.ids.size();
    if (turn + 1 < row_.messages.size()) {
      LORRY_ASSIGN_OR_RETURN(RenderedChat with, RenderChat(turn + 1, false));
      LORRY_ASSIGN_OR_RETURN(end, PrefixLength(with.text, false));
    }
    std::fill(out_.loss_mask.begin() + begin, out_.loss_mask.begin() + std::max(begin, end), 1);
    return OkStatus();
  }

  Status MarkSpans(const std::vector<TextSpan>& spans) {
    for (const TextSpan& span : spans) {
      LORRY_ASSIGN_OR_RETURN(size_t begin, PrefixLength(std::string_view(text_).substr(0, span.begin), false));
      LORRY_ASSIGN_OR_RETURN(size_t end, PrefixLength(std::string_view(text_).substr(0, span.end), false));
      std::fill(out_.loss_mask.begin() + begin, out_.loss_mask.begin() + end, 1);
    }
    return OkStatus();
  }

  // How many tokens `prefix` has; they must be the first of the row's.
  Result<size_t> PrefixLength(std::string_view prefix, bool special) const {
    LORRY_ASSIGN_OR_RETURN(std::vector<TokenId> ids, Ids(prefix, special));
    const size_t shorter = std::min(ids.size(), out_.ids.size());
    size_t same = static_cast<size_t>(std::mismatch(ids.begin(), ids.begin() + shorter, out_.ids.begin()).first - ids.begin());
    if (same == ids.size()) return same;
    return Fault(row_.form == TrainForm::kMessages ? "messages" : "prompt",
                 fmt::format("the prompt's tokens are not the beginning of the row's: behind {} equal tokens the prompt goes on "
                             "with {}, the row with {}",
                             same, Shown(ids, same), Shown(out_.ids, same)),
                 SeamHint(prefix));
  }
  // Why `prefix` has other tokens than the row: its text is another, or it is the same and a token lies across its end.
  std::string SeamHint(std::string_view prefix) const {
    if (row_.form != TrainForm::kMessages) return "move the blanks at the prompt's end to the completion's beginning";
    if (text_.starts_with(prefix)) {
      return "the tokenizer joins the end of one turn and the beginning of what follows into one token; take the blanks and line "
             "breaks from the beginning and end of the turns' contents, or use loss_on: all";
    }
    return "the chat template renders a conversation's beginning differently once more turns follow; use loss_on: all, or a "
           "template that keeps it";
  }
  std::string Shown(const std::vector<TokenId>& ids, size_t from) const {
    const size_t n = std::min<size_t>(3, ids.size() - std::min(from, ids.size()));
    if (n == 0) return "nothing";
    std::span<const TokenId> some(ids.data() + from, n);
    return fmt::format("\"{}\" {}", EscapeControl(tokenizer_.Decode(some, false)), fmt::join(some, " "));
  }

  Status Limit() {
    if (options_.max_length <= 0 || out_.full_length <= options_.max_length) return OkStatus();
    if (options_.too_long == TooLong::kError) {
      return Fault("", fmt::format("the row has {} tokens, max_length is {}", out_.full_length, options_.max_length),
                   "raise dataset.max_length, or say dataset.too_long: truncate | drop");
    }
    out_.dropped = options_.too_long == TooLong::kDrop;
    out_.ids.resize(out_.dropped ? 0 : options_.max_length);
    out_.loss_mask.resize(out_.ids.size());
    return OkStatus();
  }

  const TrainRow& row_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  const EncodeRowOptions& options_;
  std::string text_;
  EncodedRow out_;
};

}  // namespace

Result<EncodedRow> EncodeTrainRow(const TrainRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                  const EncodeRowOptions& options) {
  return RowEncoder(row, tokenizer, chat_template, options).Encode();
}

Result<std::string> RenderTrainRow(const TrainRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                   const EncodeRowOptions& options) {
  return RowEncoder(row, tokenizer, chat_template, options).Render();
}

}  // namespace lorry
