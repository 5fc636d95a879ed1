// Reads tokenizer.json, tokenizer_config.json and special_tokens_map.json into a Tokenizer's tables.
#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/format/tokenizer.h"
#include "model/format/tokenizer_tables.h"

namespace lorry {

using nlohmann::json;

namespace {

constexpr TokenId kMaxTokenId = 16'000'000;
constexpr JsonLimits kLimits{.max_bytes = size_t{200} << 20, .max_depth = 64};

Error In(const std::string& name, Error error) {
  error.file = name;
  return error;
}

json Member(const json& object, const char* key) {
  auto it = object.find(key);
  return it == object.end() ? json() : *it;
}

bool Flag(const json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

// A special token as the configuration files write it: text, or {"content": text, ...}.
std::string TokenText(const json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && Member(token, "content").is_string()) return token["content"].get<std::string>();
  return "";
}

}  // namespace

class TokenizerReader {
 public:
  static Result<Tokenizer> Read(std::string_view tokenizer_json, std::string_view config_json, const std::string& name) {
    TokenizerReader reader;
    Status status = reader.Run(tokenizer_json, config_json);
    if (!status.ok()) {
      Error error = status.error();
      return error.file.empty() ? In(name, std::move(error)) : error;
    }
    return Tokenizer(std::move(reader.tables_));
  }

 private:
  Status Run(std::string_view tokenizer_json, std::string_view config_json) {
    LORRY_ASSIGN_OR_RETURN(json file, ParseJson(tokenizer_json, kLimits));
    if (!file.is_object()) return MakeError(ErrorCode::kData, "an object is expected");
    json config = json::object();
    if (!config_json.empty()) {
      LORRY_ASSIGN_OR_RETURN(config, ParseJson(config_json, kLimits));
      if (!config.is_object()) return MakeError(ErrorCode::kData, "tokenizer_config.json: an object is expected");
    }
    LORRY_ASSIGN_OR_RETURN(t().normalizer, TextNormalizer::FromJson(Member(file, "normalizer")));
    LORRY_ASSIGN_OR_RETURN(t().pre_tokenizer, PreTokenizer::FromJson(Member(file, "pre_tokenizer")));
    LORRY_ASSIGN_OR_RETURN(t().model, BpeModel::FromJson(Member(file, "model"), t().pre_tokenizer.byte_level()));
    LORRY_ASSIGN_OR_RETURN(t().decoder, TokenDecoder::FromJson(Member(file, "decoder")));
    t().vocab_size = t().model.size();
    LORRY_TRY(ReadAddedTokens(Member(file, "added_tokens")));
    LORRY_TRY(ReadConfigTokens(Member(config, "added_tokens_decoder")));
    ReadSpecialTokens(config);
    LORRY_TRY(IndexAddedTokens());
    LORRY_TRY(ReadPostProcessor(Member(file, "post_processor"), config));
    Sha256 digest;
    digest.Update(tokenizer_json);
    digest.Update(config_json);
    t().fingerprint = digest.Finish().hex();
    return OkStatus();
  }

  Status ReadAddedTokens(const json& list) {
    if (list.is_null()) return OkStatus();
    if (!list.is_array()) return MakeError(ErrorCode::kData, "added_tokens: a list is expected");
    for (const json& token : list) {
      if (!token.is_object()) return MakeError(ErrorCode::kData, "added_tokens: an object is expected");
      LORRY_TRY(Add(token, Member(token, "id")));
    }
    return OkStatus();
  }

  // tokenizer_config.json's added_tokens_decoder: {"ID": {"content", ...}}; what tokenizer.json has already is left as it is.
  Status ReadConfigTokens(const json& tokens) {
    if (!tokens.is_object()) return OkStatus();
    for (const auto& [id, token] : tokens.items()) {
      const std::string text = TokenText(token);
      if (text.empty() || t().added_ids.count(text) > 0) continue;
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos) {
        return MakeError(ErrorCode::kData, "tokenizer_config.json: added_tokens_decoder: an id is expected");
      }
      LORRY_TRY(Add(token, json(std::stol(id))));
    }
    return OkStatus();
  }

  Status Add(const json& token, const json& id) {
    AddedToken added;
    added.text = TokenText(token);
    if (added.text.empty()) return OkStatus();
    std::optional<TokenId> in_model = t().model.IdOf(added.text);
    if (!in_model && (!id.is_number_integer() || id < 0 || id > kMaxTokenId)) {
      return MakeError(ErrorCode::kData, fmt::format("added_tokens: {} has no usable id", json(added.text).dump()));
    }
    added.id = in_model ? *in_model : id.get<TokenId>();
    added.special = Flag(token, "special");
    added.normalized = Flag(token, "normalized");
    added.single_word = Flag(token, "single_word");
    added.lstrip = Flag(token, "lstrip");
    added.rstrip = Flag(token, "rstrip");
    t().added_ids[added.text] = added.id;
    t().added.push_back(std::move(added));
    return OkStatus();
  }

  void ReadSpecialTokens(const json& config) {
    auto read = [&](const char* key) -> std::optional<SpecialToken> {
      const std::string text = TokenText(Member(config, key));
      if (text.empty()) return std::nullopt;
      auto it = t().added_ids.find(text);
      std::optional<TokenId> id = it != t().added_ids.end() ? std::optional(it->second) : t().model.IdOf(text);
      if (!id) return std::nullopt;
      if (it == t().added_ids.end()) {  // a named token is cut out of the text, whether tokenizer.json says so or not
        t().added_ids[text] = *id;
        t().added.push_back({.id = *id, .text = text, .special = true});
      }
      return SpecialToken{text, *id};
    };
    t().bos = read("bos_token");
    t().eos = read("eos_token");
    t().pad = read("pad_token");
    t().unk = read("unk_token");
  }

  Status IndexAddedTokens() {
    for (size_t i = 0; i < t().added.size(); ++i) {
      AddedToken token = t().added[i];
      t().added_by_id[token.id] = i;
      t().vocab_size = std::max<int64_t>(t().vocab_size, token.id + int64_t{1});
      if (!token.normalized) {
        t().in_raw_text.Add(std::move(token));
        continue;
      }
      LORRY_ASSIGN_OR_RETURN(token.text, t().normalizer.Apply(token.text));
      t().decoded[token.id] = token.text;
      t().in_normalized_text.Add(std::move(token));
    }
    return OkStatus();
  }

  // transformers lets add_bos_token and add_eos_token of tokenizer_config.json overrule the post-processor.
  Status ReadPostProcessor(const json& post, const json& config) {
    if (config.contains("add_bos_token") || config.contains("add_eos_token")) {
      if (Flag(config, "add_bos_token") && t().bos) t().leading = {t().bos->id};
      return OkStatus();
    }
    return ReadPostProcessorStep(post, 0);
  }

  Status ReadPostProcessorStep(const json& post, int depth) {
    if (post.is_null()) return OkStatus();
    const json type = post.is_object() ? Member(post, "type") : json();
    if (type == "ByteLevel") return OkStatus();
    if (type == "Sequence" && Member(post, "processors").is_array() && depth < 8) {
      for (const json& step : post["processors"]) LORRY_TRY(ReadPostProcessorStep(step, depth + 1));
      return OkStatus();
    }
    if (type != "TemplateProcessing") {
      return MakeError(ErrorCode::kUnsupported, fmt::format("post_processor {} is not in this version", type.dump()));
    }
    return ReadTemplate(post);
  }

  // The special tokens that "single" has before the sequence.
  Status ReadTemplate(const json& post) {
    const json single = Member(post, "single"), specials = Member(post, "special_tokens");
    if (!single.is_array()) return MakeError(ErrorCode::kData, "post_processor.single: a list is expected");
    for (const json& item : single) {
      if (item.is_object() && item.contains("Sequence")) return OkStatus();
      const json special = item.is_object() ? Member(item, "SpecialToken") : json();
      const json id = special.is_object() ? Member(special, "id") : json();
      const json known =
          id.is_string() && specials.is_object() ? Member(specials, id.get_ref<const std::string&>().c_str()) : json();
      const json ids = known.is_object() ? Member(known, "ids") : json();
      if (!ids.is_array()) return MakeError(ErrorCode::kData, "post_processor.single: a special token without ids");
      for (const json& one : ids) {
        if (!one.is_number_integer() || one < 0 || one > kMaxTokenId) {
          return MakeError(ErrorCode::kData, "post_processor: an id is expected");
        }
        t().leading.push_back(one.get<TokenId>());
      }
    }
    return OkStatus();
  }

  Tokenizer::Tables& t() { return *tables_; }
  std::shared_ptr<Tokenizer::Tables> tables_ = std::make_shared<Tokenizer::Tables>();
};

Result<Tokenizer> Tokenizer::FromTokenizerJson(std::string_view tokenizer_json, std::string_view config_json,
                                               const std::string& name) {
  return TokenizerReader::Read(tokenizer_json, config_json, name);
}

namespace {

// tokenizer_config.json, with the named tokens that only special_tokens_map.json has.
Result<std::string> ReadTokenizerConfig(const std::filesystem::path& dir) {
  json config = json::object();
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::string path = dir / name;
    if (!FileExists(path)) continue;
    LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(path, int64_t{64} << 20));
    Result<json> parsed = ParseJson(text, kLimits);
    if (!parsed.ok()) return In(path, parsed.error());
    if (!parsed->is_object()) return In(path, MakeError(ErrorCode::kData, "an object is expected"));
    for (const auto& [key, value] : parsed->items()) {
      if (!config.contains(key) || config[key].is_null()) config[key] = value;
    }
  }
  return config.dump();
}

}  // namespace

Result<Tokenizer> Tokenizer::FromDirectory(const std::filesystem::path& dir) {
  const std::string path = dir / "tokenizer.json";
  if (!FileExists(path)) {
    return In(path, MakeError(ErrorCode::kNotFound, "the model has no tokenizer.json",
                              "a model directory needs one; older models can be saved again with transformers to get it"));
  }
  LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(path, int64_t{200} << 20));
  LORRY_ASSIGN_OR_RETURN(std::string config, ReadTokenizerConfig(dir));
  return FromTokenizerJson(text, config, path);
}

}  // namespace lorry
