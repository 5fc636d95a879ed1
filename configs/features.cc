#include "configs/features.h"

#include <algorithm>
#include <array>

namespace lorry {
namespace {

constexpr std::array kFeatures = {
    Feature{"adapter.dora", true},
    Feature{"adapter.dropout", true},
    Feature{"adapter.init_from", true},
    Feature{"adapter.rslora", true},
    Feature{"adapter.type: lora", true},
    Feature{"adapter.type: qlora", true},
    Feature{"class idle_pool", false},
    Feature{"command adapter", true},
    Feature{"command backup", false},
    Feature{"command budget", false},
    Feature{"command cancel", true},
    Feature{"command cost", true},
    Feature{"command doctor", true},
    Feature{"command eval bleu", false},
    Feature{"command eval chrf", false},
    Feature{"command eval rouge", true},
    Feature{"command explain", true},
    Feature{"command export", true},
    Feature{"command generate", true},
    Feature{"command ledger close-month", false},
    Feature{"command ledger replay", true},
    Feature{"command ledger verify", true},
    Feature{"command logs", true},
    Feature{"command merge", true},
    Feature{"command model", true},
    Feature{"command pause", true},
    Feature{"command plan", true},
    Feature{"command pool", false},
    Feature{"command price set", false},
    Feature{"command ps", true},
    Feature{"command pull", true},
    Feature{"command reproduce", false},
    Feature{"command restore", false},
    Feature{"command resume", true},
    Feature{"command score", true},
    Feature{"command show", true},
    Feature{"command submit", true},
    Feature{"command token", true},
    Feature{"command tokenize", true},
    Feature{"command up", true},
    Feature{"command watch", true},
    Feature{"command worker drain", true},
    Feature{"command worker list", true},
    Feature{"command worker resume", true},
    Feature{"end reason gpu_fault", false},
    Feature{"end reason rank_hang", false},
    Feature{"evaluate", true},
    Feature{"evaluate.judge", false},
    Feature{"evaluate.metrics: bertscore", false},
    Feature{"evaluate.metrics: bleu", false},
    Feature{"evaluate.metrics: chrf", false},
    Feature{"evaluate.metrics: rouge", true},
    Feature{"evaluate.weights", false},
    Feature{"file costs.jsonl", false},
    Feature{"guardrails", false},
    Feature{"http /v1/batches", false},
    Feature{"http /v1/files", false},
    Feature{"http /v1/fine_tuning", false},
    Feature{"http /v1/models", false},
    Feature{"http /v2", false},
    Feature{"kind batch", true},
    Feature{"kind batch on GPUs", false},
    Feature{"kind command", true},
    Feature{"kind evaluate", false},
    Feature{"kind finetune", true},
    Feature{"kind pipeline", false},
    Feature{"limits.on_exceed: notify", false},
    Feature{"option cost --compare-api", false},
    Feature{"option cost --format focus", false},
    Feature{"option cost --scenario", false},
    Feature{"option export --format nf4", true},
    Feature{"option token create --role engineer", false},
    Feature{"policy.yaml budgets", false},
    Feature{"policy.yaml quotas", false},
    Feature{"policy.yaml roles", false},
    Feature{"resources.nodes", false},
    Feature{"response_format", false},
    Feature{"strategy: auto", true},
    Feature{"strategy: map_reduce", false},
    Feature{"strategy: refine", false},
    Feature{"strategy: single", true},
    Feature{"sweep", true},
    Feature{"training.loraplus_lr_ratio", true},
};

}  // namespace

std::span<const Feature> Features() { return kFeatures; }

bool IsBuilt(std::string_view name) {
  const auto found =
      std::find_if(kFeatures.begin(), kFeatures.end(), [&](const Feature& feature) { return feature.name == name; });
  return found == kFeatures.end() || found->built;
}

}  // namespace lorry
