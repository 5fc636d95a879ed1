#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format/chat_template.h"
#include "model/format/export_gguf.h"
#include "model/format/gguf_pre_tokenizers.h"
#include "model/format/tokenizer.h"

namespace lorry {
namespace {

using Json = nlohmann::json;

constexpr JsonLimits kLimits{.max_bytes = size_t{200} << 20, .max_depth = 64};
constexpr std::string_view kLowLine = "\u2581";  // SentencePiece's blank

Json Member(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

// The steps of a Sequence under `list`, or the one step that there is.
std::vector<Json> StepsOf(const Json& step, const char* list) {
  if (step.is_null()) return {};
  if (Member(step, "type") != "Sequence") return {step};
  const Json steps = Member(step, list);
  return steps.is_array() ? steps.get<std::vector<Json>>() : std::vector<Json>{Json("?")};
}

// Writes the tokenizer of one directory; checked by the Tokenizer that was made of the same files.
class VocabularyWriter {
 public:
  VocabularyWriter(const ModelDirectory& model, const Tokenizer& tokenizer, const Json& file, const Json& config)
      : model_(model), tokenizer_(tokenizer), file_(file), config_(config), name_((model.path() / "tokenizer.json").string()) {}

  Result<std::vector<GgufPair>> Write() {
    const bool byte_fallback = Member(Member(file_, "model"), "byte_fallback") == true;
    LORRY_TRY(ReadAddedTokens(Member(file_, "added_tokens")));
    LORRY_TRY(byte_fallback ? AddSentencePiece() : AddByteLevel());
    LORRY_TRY(AddSpecialIds());
    return std::move(pairs_);
  }

 private:
  Error Fault(const char* key, std::string message, ErrorCode code = ErrorCode::kUnsupported) const {
    Error error = MakeError(code, std::move(message), code == ErrorCode::kUnsupported ? "export it as safetensors" : "");
    error.file = name_;
    error.key = key;
    return error;
  }
  void Add(const char* key, GgufStored value) { pairs_.push_back({fmt::format("tokenizer.ggml.{}", key), std::move(value)}); }
  int64_t rows() const { return model_.config().vocab_size; }

  // Which tokens a text is searched for before anything else, and whether they are control tokens.
  Status ReadAddedTokens(const Json& list) {
    for (const Json& token : list.is_array() ? list : Json::array()) {
      const Json id = Member(token, "id");
      if (!id.is_number_integer()) continue;  // the tokenizer was read: one that it has in its vocabulary
      if (id < 0 || id >= rows()) {
        return Fault("added_tokens", fmt::format("token {} is beyond the {} rows of the embedding", id.dump(), rows()),
                     ErrorCode::kData);
      }
      added_[id.get<int64_t>()] = Member(token, "special") == true;
    }
    return OkStatus();
  }

  // A token for each row of the embedding: rows that no token has get llama.cpp's own word for them.
  Status AddTokens(bool sentencepiece) {
    std::vector<std::string> tokens;
    std::vector<int32_t> types;
    if (tokenizer_.vocab_size() > rows()) {
      return Fault("model.vocab", fmt::format("{} tokens for the {} rows of the embedding", tokenizer_.vocab_size(), rows()),
                   ErrorCode::kData);
    }
    for (int64_t id = 0; id < rows(); ++id) {
      const auto token_id = static_cast<TokenId>(id);
      const std::optional<std::string> token = tokenizer_.TokenOf(token_id);
      const auto added = added_.find(id);
      int64_t type = GgufTokenType::kNormal;
      if (!token) {
        type = GgufTokenType::kUnused;
      } else if (sentencepiece && tokenizer_.unk() && tokenizer_.unk()->id == token_id) {
        type = GgufTokenType::kUnknown;
      } else if (tokenizer_.IsSpecial(token_id) || (added != added_.end() && added->second)) {
        type = GgufTokenType::kControl;
      } else if (added != added_.end()) {
        type = GgufTokenType::kUserDefined;
      } else if (sentencepiece && token->size() == 6 && token->starts_with("<0x") && token->ends_with('>')) {
        type = GgufTokenType::kByte;
      }
      tokens.push_back(token ? *token : fmt::format("[PAD{}]", id));
      types.push_back(static_cast<int32_t>(type));
    }
    if (sentencepiece) Add("scores", Scores(types));
    Add("tokens", std::move(tokens));
    Add("token_type", std::move(types));
    return OkStatus();
  }

  // "a b", first to merge first; in tokenizer.json they are such texts or pairs.
  Status ReadMerges() {
    const Json merges = Member(Member(file_, "model"), "merges");
    for (const Json& merge : merges.is_array() ? merges : Json::array()) {
      const bool is_pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
      if (!is_pair && !merge.is_string()) return Fault("model.merges", "holds what is no merge", ErrorCode::kData);
      std::string text = is_pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>() : merge.get<std::string>();
      if (std::count(text.begin(), text.end(), ' ') != 1) {
        return Fault("model.merges", fmt::format("\"{}\" has a blank inside a token", EscapeControl(text)));
      }
      merges_.push_back(std::move(text));
    }
    return OkStatus();
  }

  // llama.cpp joins SentencePiece's tokens by score, tokenizer.json by the order of merges: what is joined earlier scores higher,
  // as in SentencePiece's own BPE models, whose scores count down from 0. Byte, control and unknown tokens have 0 there.
  std::vector<float> Scores(const std::vector<int32_t>& types) const {
    std::map<int64_t, size_t> rank;  // token -> its first merge
    for (const std::string& merge : merges_) {
      std::string joined = merge;
      joined.erase(joined.find(' '), 1);
      if (const std::optional<TokenId> id = tokenizer_.IdOf(joined)) rank.emplace(*id, rank.size());
    }
    std::vector<float> scores(types.size(), 0.0f);
    size_t unmerged = rank.size();  // letters, which nothing makes
    for (size_t id = 0; id < types.size(); ++id) {
      if (types[id] != GgufTokenType::kNormal) continue;
      const auto found = rank.find(static_cast<int64_t>(id));
      scores[id] = -static_cast<float>(found != rank.end() ? found->second : unmerged++);
    }
    return scores;
  }

  Status AddByteLevel() {
    LORRY_ASSIGN_OR_RETURN(const std::string_view pre, PreTokenizerName());
    LORRY_TRY(ReadMerges());
    Add("model", std::string("gpt2"));
    Add("pre", std::string(pre));
    LORRY_TRY(AddTokens(false));
    Add("merges", std::move(merges_));
    return OkStatus();
  }

  // llama.cpp knows the cuts of texts by name.
  Result<std::string_view> PreTokenizerName() const {
    const std::vector<Json> steps = StepsOf(Member(file_, "pre_tokenizer"), "pretokenizers");
    const Json last = steps.empty() ? Json() : steps.back();
    const Json first = steps.size() == 2 ? steps.front() : Json();
    const bool digits = Member(first, "type") == "Digits" && Member(first, "individual_digits") == true;
    const Json regex = Member(Member(first, "pattern"), "Regex");
    const bool split = Member(first, "type") == "Split" && Member(first, "behavior") == "Isolated" &&
                       Member(first, "invert") != true && regex.is_string();
    const bool ends = Member(last, "type") == "ByteLevel" && Member(last, "add_prefix_space") != true &&
                      (Member(last, "use_regex") == false) == split;
    const Json normalizer = Member(file_, "normalizer");
    const bool nfc = Member(normalizer, "type") == "NFC";
    if (ends && (digits || split || steps.size() == 1) && (nfc || normalizer.is_null())) {
      for (const GgufPreTokenizer& pre : kGgufPreTokenizers) {
        const bool same_cut = pre.split == nullptr ? !split && pre.single_digits == digits : split && regex == pre.split;
        if (same_cut && pre.nfc == nfc && pre.ignore_merges == (Member(Member(file_, "model"), "ignore_merges") == true))
          return pre.name;
      }
    }
    return Fault("pre_tokenizer", "is none that llama.cpp has a name for");
  }

  Status AddSentencePiece() {
    bool prefix = false, blanks = false;
    for (const Json& step : StepsOf(Member(file_, "normalizer"), "normalizers")) {
      const bool is_prefix = Member(step, "type") == "Prepend" && Member(step, "prepend") == kLowLine;
      const bool is_blank = Member(step, "type") == "Replace" && Member(Member(step, "pattern"), "String") == " " &&
                            Member(step, "content") == kLowLine;
      if (!is_prefix && !is_blank) return Fault("normalizer", "is not SentencePiece's");
      prefix = prefix || is_prefix;
      blanks = blanks || is_blank;
    }
    for (const Json& step : StepsOf(Member(file_, "pre_tokenizer"), "pretokenizers")) {
      if (Member(step, "type") != "Metaspace" || Member(step, "split") == true)
        return Fault("pre_tokenizer", "is not SentencePiece's");
      prefix = prefix || Member(step, "prepend_scheme") != "never";
      blanks = true;
    }
    if (!blanks) return Fault("normalizer", "leaves blanks as they are, which SentencePiece does not");
    LORRY_TRY(ReadMerges());
    Add("model", std::string("llama"));
    Add("pre", std::string("default"));
    Add("add_space_prefix", prefix);
    LORRY_TRY(AddTokens(true));
    Add("merges", std::move(merges_));  // passed over by llama.cpp; an import finds the order of equals in them
    return OkStatus();
  }

  // Whether a text ends with the end-of-sequence token when the tokenizer adds its own.
  bool AddsEnd() const {
    if (config_.contains("add_bos_token") || config_.contains("add_eos_token")) return Member(config_, "add_eos_token") == true;
    for (const Json& step : StepsOf(Member(file_, "post_processor"), "processors")) {
      const Json single = Member(step, "single");
      if (single.is_array() && !single.empty() && single.back().contains("SpecialToken")) return true;
    }
    return false;
  }

  // How many tokens the tokenizer puts before a text; more than one, or another than `bos`, cannot be said.
  Result<bool> AddsBegin(std::optional<TokenId> bos) const {
    LORRY_ASSIGN_OR_RETURN(const std::vector<TokenId> with, tokenizer_.Encode("a", true));
    LORRY_ASSIGN_OR_RETURN(const std::vector<TokenId> without, tokenizer_.Encode("a", false));
    const size_t leading = with.size() - without.size();
    if (leading == 0) return false;
    if (leading == 1 && bos && with.front() == *bos) return true;
    return Fault("post_processor", "begins a text with other tokens than the one that begins a sequence");
  }

  Status AddSpecialIds() {
    const ModelConfig& config = model_.config();
    const std::vector<int32_t>& ends = model_.generation().eos_ids;
    const auto or_else = [](std::optional<TokenId> id, std::optional<TokenId> otherwise) { return id ? id : otherwise; };
    const std::optional<TokenId> bos = or_else(tokenizer_.bos_id(), config.bos_id);
    const std::optional<TokenId> eos = or_else(tokenizer_.eos_id(), ends.empty() ? std::nullopt : std::optional(ends.front()));
    std::optional<TokenId> turn_end;  // generation stops at each of its ends; a GGUF has room for two
    for (const TokenId id : ends) {
      if (!turn_end && eos && id != *eos) turn_end = id;
    }
    const std::optional<TokenId> unknown = tokenizer_.unk() ? std::optional(tokenizer_.unk()->id) : std::nullopt;
    const std::pair<const char*, std::optional<TokenId>> ids[] = {
        {"bos_token_id", bos},
        {"eos_token_id", eos},
        {"eot_token_id", turn_end},
        {"unknown_token_id", unknown},
        {"padding_token_id", or_else(tokenizer_.pad_id(), config.pad_id)}};
    for (const auto& [key, id] : ids) {
      if (!id) continue;
      if (*id < 0 || *id >= rows()) {
        return Fault(key, fmt::format("{} is beyond the {} rows of the embedding", *id, rows()), ErrorCode::kData);
      }
      Add(key, static_cast<uint32_t>(*id));
    }
    LORRY_ASSIGN_OR_RETURN(const bool begins, AddsBegin(bos));
    Add("add_bos_token", begins);
    Add("add_eos_token", AddsEnd());
    return OkStatus();
  }

  const ModelDirectory& model_;
  const Tokenizer& tokenizer_;
  const Json& file_;
  const Json& config_;
  const std::string name_;
  std::map<int64_t, bool> added_;  // id -> is special
  std::vector<std::string> merges_;
  std::vector<GgufPair> pairs_;
};

Result<Json> ReadJson(const std::filesystem::path& path) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path.string(), static_cast<int64_t>(kLimits.max_bytes)));
  Result<Json> json = ParseJson(text, kLimits);
  if (json.ok()) return json;
  Error error = std::move(json).error();
  error.file = path.string();
  return error;
}

}  // namespace

Result<std::vector<GgufPair>> GgufTokenizerPairs(const ModelDirectory& model) {
  LORRY_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::FromDirectory(model.path()));
  LORRY_ASSIGN_OR_RETURN(const Json file, ReadJson(model.path() / "tokenizer.json"));
  Json config = Json::object();
  if (const auto path = model.path() / "tokenizer_config.json"; FileExists(path.string())) {
    LORRY_ASSIGN_OR_RETURN(config, ReadJson(path));
  }
  LORRY_ASSIGN_OR_RETURN(std::vector<GgufPair> pairs, VocabularyWriter(model, tokenizer, file, config).Write());
  Result<std::string> chat_template = ChatTemplate::TextOfDirectory(model.path());
  if (chat_template.ok()) {
    pairs.push_back({"tokenizer.chat_template", std::move(*chat_template)});
  } else if (chat_template.error().code != ErrorCode::kNotFound) {
    return std::move(chat_template).error();
  }
  return pairs;
}

}  // namespace lorry
