#include "lora/target_match.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <set>
#include <string_view>

namespace lorry {
namespace {

class Pattern {
 public:
  static Result<Pattern> Compile(const std::string& text) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF, &error, &offset, nullptr);
    if (code == nullptr) {
      PCRE2_UCHAR message[256] = {};
      pcre2_get_error_message(error, message, sizeof message);
      return MakeError(ErrorCode::kSpec, fmt::format("the pattern \"{}\" cannot be read at character {}: {}", text, offset + 1,
                                                     reinterpret_cast<const char*>(message)));
    }
    return Pattern(code);
  }

  // re.fullmatch of Python.
  bool MatchesWhole(const std::string& subject) const { return Match(subject, PCRE2_ANCHORED | PCRE2_ENDANCHORED); }

 private:
  explicit Pattern(pcre2_code* code) : code_(code) {}
  bool Match(const std::string& subject, uint32_t options) const {
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free);
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), 0, options, data.get(),
                       nullptr) > 0;
  }
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
};

bool IsNameOrSuffix(const std::string& module, const std::string& name) {
  return module == name ||
         (module.size() > name.size() && module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
}

bool IsAllLinear(const AdapterConfig& config) {
  if (config.target_modules.size() != 1) return false;
  std::string lower = config.target_modules[0];
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "all-linear";
}

// The first number that stands between dots, after at least two names: re.match(r".*?\.[^.]*\.(\d+)\.", module).
int64_t LayerOf(const std::string& module) {
  size_t begin = 0, names = 0;
  for (size_t dot = module.find('.'); dot != std::string::npos; dot = module.find('.', begin)) {
    const std::string_view part(module.data() + begin, dot - begin);
    const bool number =
        !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    if (number && names >= 2) return std::stoll(std::string(part.substr(0, 9)));
    begin = dot + 1;
    ++names;
  }
  return -1;
}

// The names of one setting: a list, or one whole-name pattern.
class NameSet {
 public:
  static Result<NameSet> Make(const std::vector<std::string>& names, bool is_regex) {
    NameSet set;
    set.names_ = names;
    if (is_regex && !names.empty()) {
      LORRY_ASSIGN_OR_RETURN(Pattern pattern, Pattern::Compile(names[0]));
      set.pattern_ = std::make_shared<Pattern>(std::move(pattern));
    }
    return set;
  }
  bool Has(const std::string& module) const {
    if (pattern_ != nullptr) return pattern_->MatchesWhole(module);
    return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) { return IsNameOrSuffix(module, name); });
  }

 private:
  std::vector<std::string> names_;
  std::shared_ptr<Pattern> pattern_;
};

Result<Pattern> CompilePatternKey(const std::string& key) { return Pattern::Compile("(.*\\.)?(" + key + ")"); }

// The first key of `patterns` that fits, in file order.
template <class T>
Result<T> FirstFitting(const std::vector<std::pair<std::string, T>>& patterns, const std::string& module, T otherwise) {
  for (const auto& [key, value] : patterns) {
    LORRY_ASSIGN_OR_RETURN(const Pattern pattern, CompilePatternKey(key));
    if (pattern.MatchesWhole(module)) return value;
  }
  return otherwise;
}

template <class T>
Status CheckEachFits(const char* name, const std::vector<std::pair<std::string, T>>& patterns,
                     const std::vector<std::string>& modules) {
  for (const auto& [key, value] : patterns) {
    LORRY_ASSIGN_OR_RETURN(const Pattern pattern, CompilePatternKey(key));
    if (std::any_of(modules.begin(), modules.end(), [&](const std::string& module) { return pattern.MatchesWhole(module); }))
      continue;
    Error error =
        MakeError(ErrorCode::kSpec, "fits no adapted layer", "a key is the end of a module's name, as in layers.0.mlp.up_proj");
    error.key = fmt::format("adapter.{}.{}", name, key);
    return error;
  }
  return OkStatus();
}

Error NothingMatches(const AdapterConfig& config, const std::vector<std::string>& modules) {
  std::set<std::string> last_names;
  for (const std::string& module : modules) last_names.insert(module.substr(module.rfind('.') + 1));
  Error error =
      MakeError(ErrorCode::kSpec,
                fmt::format("target_modules [{}] matches no linear layer of the model", fmt::join(config.target_modules, ", ")),
                fmt::format("its linear layers are called {}; or say all-linear", fmt::join(last_names, ", ")));
  error.key = "adapter.target_modules";
  return error;
}

}  // namespace

Result<std::vector<TargetMatch>> MatchTargets(const AdapterConfig& config, const std::vector<std::string>& modules) {
  const bool all = IsAllLinear(config);
  LORRY_ASSIGN_OR_RETURN(const NameSet targets, NameSet::Make(config.target_modules, config.targets_are_regex));
  LORRY_ASSIGN_OR_RETURN(const NameSet excluded, NameSet::Make(config.exclude_modules, config.excludes_are_regex));
  for (const char* outside : {"lm_head", "model.embed_tokens"}) {
    if (!all && targets.Has(outside) && !excluded.Has(outside)) {
      return MakeError(ErrorCode::kUnsupported, fmt::format("an adapter on {} is not in this version", outside));
    }
  }
  const auto& layers = config.layers_to_transform;
  std::vector<TargetMatch> matches;
  for (const std::string& module : modules) {
    if (excluded.Has(module) || !(all || targets.Has(module))) continue;
    const bool by_layer = !layers.empty() && !config.targets_are_regex;
    if (by_layer && std::find(layers.begin(), layers.end(), LayerOf(module)) == layers.end()) continue;
    TargetMatch match{module, 0, 0.0};
    LORRY_ASSIGN_OR_RETURN(match.r, FirstFitting(config.rank_pattern, module, config.r));
    LORRY_ASSIGN_OR_RETURN(match.alpha, FirstFitting(config.alpha_pattern, module, config.alpha));
    matches.push_back(std::move(match));
  }
  if (matches.empty()) return NothingMatches(config, modules);
  return matches;
}

Status CheckPatternsFit(const AdapterConfig& config, const std::vector<std::string>& modules) {
  LORRY_TRY(CheckEachFits("rank_pattern", config.rank_pattern, modules));
  return CheckEachFits("alpha_pattern", config.alpha_pattern, modules);
}

}  // namespace lorry
