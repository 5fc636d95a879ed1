#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <unordered_map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/format/gguf_pre_tokenizers.h"
#include "model/format/import_gguf.h"

namespace lorry {
namespace {

using Json = nlohmann::ordered_json;

Error Fault(const GgufFile& file, const std::string& key, std::string message, ErrorCode code = ErrorCode::kData) {
  Error error = MakeError(code, std::move(message));
  error.file = file.name();
  error.key = key;
  return error;
}

struct Vocabulary {
  const std::vector<std::string>* tokens = nullptr;
  std::unordered_map<std::string_view, int64_t> id_of;
};

Result<Vocabulary> ReadVocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  vocabulary.tokens = file.Texts("tokenizer.ggml.tokens");
  if (vocabulary.tokens == nullptr) return Fault(file, "tokenizer.ggml.tokens", "is missing, or no list of texts");
  for (const std::string& token : *vocabulary.tokens) {
    if (!IsValidUtf8(token)) {
      return Fault(file, "tokenizer.ggml.tokens", fmt::format("\"{}\" is not UTF-8", EscapeControl(token)));
    }
    const auto id = static_cast<int64_t>(vocabulary.id_of.size());
    if (!vocabulary.id_of.emplace(token, id).second) {
      return Fault(file, "tokenizer.ggml.tokens", fmt::format("\"{}\" is there twice", EscapeControl(token)));
    }
  }
  return vocabulary;
}

using Merge = std::pair<std::string, std::string>;

Result<std::vector<Merge>> ReadMerges(const GgufFile& file, const std::vector<std::string>& texts, const Vocabulary& vocabulary) {
  std::vector<Merge> merges;
  merges.reserve(texts.size());
  for (const std::string& text : texts) {
    const size_t blank = text.find(' ', 1);
    if (blank == std::string::npos) {
      return Fault(file, "tokenizer.ggml.merges", fmt::format("\"{}\" is not two tokens", EscapeControl(text)));
    }
    Merge merge{text.substr(0, blank), text.substr(blank + 1)};
    if (!vocabulary.id_of.contains(merge.first) || !vocabulary.id_of.contains(merge.second) ||
        !vocabulary.id_of.contains(merge.first + merge.second)) {
      return Fault(file, "tokenizer.ggml.merges", fmt::format("\"{}\" joins what is not in the vocabulary", EscapeControl(text)));
    }
    merges.push_back(std::move(merge));
  }
  return merges;
}

// SentencePiece keeps scores, not merges: every way to cut a token into two tokens is a merge, best score first, and among
// equals the longer halves first (transformers' generate_merges, which this follows).
struct ScoredMerge {
  double score;
  size_t left_letters, right_letters;
  std::string_view left, right;
};
Result<std::vector<Merge>> MergesFromScores(const GgufFile& file, const Vocabulary& vocabulary) {
  const std::vector<double>* scores = file.Floats("tokenizer.ggml.scores");
  if (scores == nullptr || scores->size() != vocabulary.tokens->size()) {
    return Fault(file, "tokenizer.ggml.scores", "is missing or has another length than the vocabulary");
  }
  std::vector<ScoredMerge> all;
  for (size_t id = 0; id < scores->size(); ++id) {
    const std::string_view token = (*vocabulary.tokens)[id];
    std::vector<size_t> starts;  // where letters begin
    for (size_t i = 0; i < token.size(); ++i) {
      if ((static_cast<unsigned char>(token[i]) & 0xc0) != 0x80) starts.push_back(i);
    }
    const size_t first = all.size();
    for (size_t letter = 1; letter < starts.size(); ++letter) {
      const ScoredMerge merge{(*scores)[id], letter, starts.size() - letter, token.substr(0, starts[letter]),
                              token.substr(starts[letter])};
      if (vocabulary.id_of.contains(merge.left) && vocabulary.id_of.contains(merge.right)) all.push_back(merge);
    }
    std::stable_sort(all.begin() + static_cast<std::ptrdiff_t>(first), all.end(),
                     [&](const ScoredMerge& a, const ScoredMerge& b) {
                       return std::pair(vocabulary.id_of.at(a.left), vocabulary.id_of.at(a.right)) <
                              std::pair(vocabulary.id_of.at(b.left), vocabulary.id_of.at(b.right));
                     });
  }
  std::stable_sort(all.begin(), all.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tie(a.score, a.left_letters, a.right_letters) > std::tie(b.score, b.left_letters, b.right_letters);
  });
  std::vector<Merge> merges;
  merges.reserve(all.size());
  for (const ScoredMerge& merge : all) merges.emplace_back(merge.left, merge.right);
  return merges;
}

Json AddedTokens(const GgufFile& file, const Vocabulary& vocabulary, const GgufSpecialIds& special) {
  std::set<int64_t> special_ids;
  for (const std::optional<int64_t>& id : {special.bos, special.eos, special.eot, special.unknown, special.padding}) {
    if (id) special_ids.insert(*id);
  }
  const std::vector<int64_t>* types = file.Ints("tokenizer.ggml.token_type");
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens->size(); ++id) {
    const int64_t type = types != nullptr && id < types->size() ? (*types)[id] : 0;
    const bool is_special =
        type == GgufTokenType::kControl || type == GgufTokenType::kUnknown || special_ids.contains(static_cast<int64_t>(id));
    if (!is_special && type != GgufTokenType::kUserDefined) continue;
    added.push_back({{"id", id},
                     {"content", (*vocabulary.tokens)[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", is_special}});
  }
  return added;
}

// Text A, or A and B, with the tokens that the model's own tokenizer puts before and after each.
Json PostProcessor(const Vocabulary& vocabulary, std::optional<int64_t> before, std::optional<int64_t> after) {
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  const auto add_token = [&](Json* parts, int64_t id, int type_id) {
    const std::string& token = (*vocabulary.tokens)[static_cast<size_t>(id)];
    parts->push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
    special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  const auto add_sequence = [&](Json* parts, const char* name, int type_id) {
    if (before) add_token(parts, *before, type_id);
    parts->push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    if (after) add_token(parts, *after, type_id);
  };
  add_sequence(&single, "A", 0);
  add_sequence(&pair, "A", 0);
  add_sequence(&pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

Json ByteLevel(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json PreTokenizerJson(const GgufPreTokenizer& pre) {
  if (pre.split == nullptr && !pre.single_digits) return ByteLevel(false, true);
  Json first = pre.split != nullptr
                   ? Json{{"type", "Split"}, {"pattern", {{"Regex", pre.split}}}, {"behavior", "Isolated"}, {"invert", false}}
                   : Json{{"type", "Digits"}, {"individual_digits", true}};
  return {{"type", "Sequence"}, {"pretokenizers", {first, ByteLevel(false, pre.split == nullptr)}}};
}

// The vocabulary and merges are appended as they are: ordered_json's own insertion looks for the key first.
Json Model(const Vocabulary& vocabulary, const std::vector<Merge>& merges, bool sentencepiece, bool ignore_merges,
           const Json& unknown) {
  Json vocab = Json::object();
  auto& entries = static_cast<std::vector<std::pair<const std::string, Json>>&>(vocab.get_ref<Json::object_t&>());
  entries.reserve(vocabulary.tokens->size());
  for (size_t id = 0; id < vocabulary.tokens->size(); ++id) entries.emplace_back((*vocabulary.tokens)[id], id);
  Json merge_list = Json::array();
  for (const Merge& merge : merges) merge_list.push_back({merge.first, merge.second});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown},
          {"continuing_subword_prefix", sentencepiece ? Json() : Json("")},
          {"end_of_word_suffix", sentencepiece ? Json() : Json("")},
          {"fuse_unk", sentencepiece},
          {"byte_fallback", sentencepiece},
          {"ignore_merges", ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merge_list)}};
}

struct Parts {
  Json normalizer, pre_tokenizer, decoder, model;
  bool bos_by_default = false;
};

Result<Parts> ByteLevelParts(const GgufFile& file, const Vocabulary& vocabulary) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> name, file.Text("tokenizer.ggml.pre"));
  const auto pre = std::find_if(kGgufPreTokenizers.begin(), kGgufPreTokenizers.end(),
                                [&](const GgufPreTokenizer& p) { return p.name == name.value_or(""); });
  if (pre == kGgufPreTokenizers.end()) {
    Error error =
        Fault(file, "tokenizer.ggml.pre", name ? fmt::format("\"{}\" is not supported", EscapeControl(*name)) : "is missing",
              ErrorCode::kUnsupported);
    error.hint = "import the model's Hugging Face directory instead";
    return error;
  }
  const std::vector<std::string>* texts = file.Texts("tokenizer.ggml.merges");
  if (texts == nullptr) return Fault(file, "tokenizer.ggml.merges", "is missing, or no list of texts");
  LORRY_ASSIGN_OR_RETURN(const std::vector<Merge> merges, ReadMerges(file, *texts, vocabulary));
  Parts parts;
  if (pre->nfc) parts.normalizer = {{"type", "NFC"}};
  parts.pre_tokenizer = PreTokenizerJson(*pre);
  parts.decoder = ByteLevel(true, true);
  parts.model = Model(vocabulary, merges, false, pre->ignore_merges, Json());
  parts.bos_by_default = pre->bos_by_default;
  return parts;
}

Result<Parts> SentencePieceParts(const GgufFile& file, const Vocabulary& vocabulary, const GgufSpecialIds& special) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> prefix, file.Bool("tokenizer.ggml.add_space_prefix"));
  const std::vector<std::string>* texts = file.Texts("tokenizer.ggml.merges");
  Result<std::vector<Merge>> merges =
      texts != nullptr ? ReadMerges(file, *texts, vocabulary) : MergesFromScores(file, vocabulary);
  if (!merges.ok()) return std::move(merges).error();
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  Json decoders = {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  Json normalizers = Json::array();
  if (prefix.value_or(true)) {
    normalizers.push_back({{"type", "Prepend"}, {"prepend", "\u2581"}});
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  normalizers.push_back(replace);
  Parts parts;
  parts.normalizer = {{"type", "Sequence"}, {"normalizers", normalizers}};
  parts.decoder = {{"type", "Sequence"}, {"decoders", decoders}};
  parts.model = Model(vocabulary, *merges, true, false,
                      special.unknown ? Json((*vocabulary.tokens)[static_cast<size_t>(*special.unknown)]) : Json());
  parts.bos_by_default = true;
  return parts;
}

}  // namespace

Result<GgufSpecialIds> ReadGgufSpecialIds(const GgufFile& file) {
  const std::vector<std::string>* tokens = file.Texts("tokenizer.ggml.tokens");
  const int64_t count = tokens == nullptr ? 0 : static_cast<int64_t>(tokens->size());
  GgufSpecialIds ids;
  const std::array<std::pair<const char*, std::optional<int64_t>*>, 5> keys = {
      {{"tokenizer.ggml.bos_token_id", &ids.bos},
       {"tokenizer.ggml.eos_token_id", &ids.eos},
       {"tokenizer.ggml.eot_token_id", &ids.eot},
       {"tokenizer.ggml.unknown_token_id", &ids.unknown},
       {"tokenizer.ggml.padding_token_id", &ids.padding}}};
  for (const auto& [key, id] : keys) {
    LORRY_ASSIGN_OR_RETURN(*id, file.Int(key));
    if (id->has_value() && (**id < 0 || **id >= count)) {
      return Fault(file, key, fmt::format("{} is not in the vocabulary of {}", **id, count));
    }
  }
  return ids;
}

Result<std::string> GgufTokenizerJson(const GgufFile& file) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> kind, file.Text("tokenizer.ggml.model"));
  LORRY_ASSIGN_OR_RETURN(const Vocabulary vocabulary, ReadVocabulary(file));
  LORRY_ASSIGN_OR_RETURN(const GgufSpecialIds special, ReadGgufSpecialIds(file));
  const bool byte_level = kind.value_or("") == "gpt2";
  if (!byte_level && kind.value_or("") != "llama") {
    return Fault(file, "tokenizer.ggml.model",
                 fmt::format("\"{}\" is not supported; gpt2 and llama are", EscapeControl(kind.value_or(""))),
                 ErrorCode::kUnsupported);
  }
  Result<Parts> parts = byte_level ? ByteLevelParts(file, vocabulary) : SentencePieceParts(file, vocabulary, special);
  if (!parts.ok()) return std::move(parts).error();
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> add_bos, file.Bool("tokenizer.ggml.add_bos_token"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> add_eos, file.Bool("tokenizer.ggml.add_eos_token"));
  const std::optional<int64_t> before = add_bos.value_or(parts->bos_by_default) ? special.bos : std::nullopt;
  const std::optional<int64_t> after = add_eos.value_or(false) ? special.eos : std::nullopt;
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", AddedTokens(file, vocabulary, special)},
                     {"normalizer", parts->normalizer},
                     {"pre_tokenizer", parts->pre_tokenizer},
                     {"post_processor", PostProcessor(vocabulary, before, after)},
                     {"decoder", parts->decoder},
                     {"model", std::move(parts->model)}};
  return json.dump(2) + "\n";
}

Result<std::string> GgufTokenizerConfigJson(const GgufFile& file) {
  LORRY_ASSIGN_OR_RETURN(const Vocabulary vocabulary, ReadVocabulary(file));
  LORRY_ASSIGN_OR_RETURN(const GgufSpecialIds special, ReadGgufSpecialIds(file));
  nlohmann::json config = {{"clean_up_tokenization_spaces", false}, {"tokenizer_class", "PreTrainedTokenizerFast"}};
  const auto add = [&](const char* name, const std::optional<int64_t>& id) {
    if (id) config[name] = (*vocabulary.tokens)[static_cast<size_t>(*id)];
  };
  add("bos_token", special.bos);
  add("eos_token", special.eos);
  add("unk_token", special.unknown);
  add("pad_token", special.padding);
  return config.dump(2) + "\n";
}

}  // namespace lorry
