// Which linears an adapter's configuration names, by PEFT's rules (tuners_utils.check_target_module_exists and
// get_pattern_key of PEFT 0.21). Patterns are Python regular expressions; PCRE2 reads the part of that language that
// module names need.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "lora/adapter.h"

namespace lorry {

struct TargetMatch {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int64_t r = 0;       // rank_pattern or r
  double alpha = 0.0;  // alpha_pattern or alpha
};

// Of `modules` (all linears but the head, in the model's order) those that are adapted. kSpec if none is, or a pattern
// cannot be read; kUnsupported if the embedding or the head is named.
Result<std::vector<TargetMatch>> MatchTargets(const AdapterConfig& config, const std::vector<std::string>& modules);

// kSpec, naming the key, where one of config's rank or alpha patterns fits none of `modules`, those that are adapted. PEFT passes
// over such a pattern; whoever writes one means a layer.
Status CheckPatternsFit(const AdapterConfig& config, const std::vector<std::string>& modules);

}  // namespace lorry
