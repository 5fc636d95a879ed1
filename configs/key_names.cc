#include "configs/key_names.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

struct KeyAlias {
  std::string_view word;  // as other trainers and schedulers call it
  std::string_view path;  // what it is here
};

// From the configuration keys of transformers, PEFT, Axolotl, LLaMA-Factory, torchtune, dstack, SkyPilot and the OpenAI API.
constexpr std::array kAliases = {
    KeyAlias{"rank", "adapter.r"},
    KeyAlias{"lora_r", "adapter.r"},
    KeyAlias{"lora_rank", "adapter.r"},
    KeyAlias{"lora_dim", "adapter.r"},
    KeyAlias{"lora_alpha", "adapter.alpha"},
    KeyAlias{"lora_dropout", "adapter.dropout"},
    KeyAlias{"lora_target", "adapter.target_modules"},
    KeyAlias{"lora_target_modules", "adapter.target_modules"},
    KeyAlias{"modules", "adapter.target_modules"},
    KeyAlias{"targets", "adapter.target_modules"},
    KeyAlias{"use_rslora", "adapter.rslora"},
    KeyAlias{"use_dora", "adapter.dora"},
    KeyAlias{"peft_use_dora", "adapter.dora"},
    KeyAlias{"adapter_name_or_path", "adapter.init_from"},
    KeyAlias{"lora_model_dir", "adapter.init_from"},
    KeyAlias{"lr", "training.learning_rate"},
    KeyAlias{"lr_scheduler_type", "training.lr_scheduler"},
    KeyAlias{"scheduler", "training.lr_scheduler"},
    KeyAlias{"num_epochs", "training.epochs"},
    KeyAlias{"num_train_epochs", "training.epochs"},
    KeyAlias{"n_epochs", "training.epochs"},
    KeyAlias{"epoch", "training.epochs"},
    KeyAlias{"steps", "training.max_steps"},
    KeyAlias{"num_steps", "training.max_steps"},
    KeyAlias{"max_train_steps", "training.max_steps"},
    KeyAlias{"batch_size", "training.rows_per_micro_batch"},
    KeyAlias{"train_batch_size", "training.rows_per_micro_batch"},
    KeyAlias{"tokens_per_batch", "training.tokens_per_step"},
    KeyAlias{"micro_batch_size", "training.rows_per_micro_batch"},
    KeyAlias{"per_device_batch_size", "training.rows_per_micro_batch"},
    KeyAlias{"per_device_train_batch_size", "training.rows_per_micro_batch"},
    KeyAlias{"gradient_accumulation_steps", "training.micro_batches_per_step"},
    KeyAlias{"grad_accum", "training.micro_batches_per_step"},
    KeyAlias{"eval_steps", "training.eval_every_steps"},
    KeyAlias{"eval_every", "training.eval_every_steps"},
    KeyAlias{"clip_grad", "training.max_grad_norm"},
    KeyAlias{"gradient_clipping", "training.max_grad_norm"},
    KeyAlias{"dtype", "training.precision"},
    KeyAlias{"warmup", "training.warmup_ratio"},
    KeyAlias{"wd", "training.weight_decay"},
    KeyAlias{"random_seed", "training.seed"},
    KeyAlias{"data_seed", "training.seed"},
    KeyAlias{"save_steps", "checkpoint.every_steps"},
    KeyAlias{"save_every", "checkpoint.every_steps"},
    KeyAlias{"save_total_limit", "checkpoint.keep_last"},
    KeyAlias{"load_best_model_at_end", "checkpoint.keep_best"},
    KeyAlias{"max_seq_length", "dataset.max_length"},
    KeyAlias{"max_seq_len", "dataset.max_length"},
    KeyAlias{"sequence_len", "dataset.max_length"},
    KeyAlias{"cutoff_len", "dataset.max_length"},
    KeyAlias{"model_max_length", "dataset.max_length"},
    KeyAlias{"sample_packing", "dataset.packing"},
    KeyAlias{"train_file", "dataset.path"},
    KeyAlias{"train", "dataset.path"},
    KeyAlias{"file", "dataset.path"},
    KeyAlias{"validation_file", "dataset.validation"},
    KeyAlias{"val_file", "dataset.validation"},
    KeyAlias{"valid", "dataset.validation"},
    KeyAlias{"test_size", "dataset.val_fraction"},
    KeyAlias{"val_size", "dataset.val_fraction"},
    KeyAlias{"val_set_size", "dataset.val_fraction"},
    KeyAlias{"train_on_inputs", "dataset.loss_on"},
    KeyAlias{"base", "base_model"},
    KeyAlias{"model_name_or_path", "base_model"},
    KeyAlias{"model_name", "base_model"},
    KeyAlias{"model", "base_model"},
    KeyAlias{"base_model", "model"},
    KeyAlias{"model_name_or_path", "model"},
    KeyAlias{"model_name", "model"},
    KeyAlias{"data", "dataset"},
    KeyAlias{"datasets", "dataset"},
    KeyAlias{"lora", "adapter"},
    KeyAlias{"peft", "adapter"},
    KeyAlias{"hyperparameters", "training"},
    KeyAlias{"trainer", "training"},
    KeyAlias{"checkpoints", "checkpoint"},
    KeyAlias{"output_dir", "output"},
    KeyAlias{"input_file", "input"},
    KeyAlias{"template", "prompt"},
    KeyAlias{"prompt_template", "prompt"},
    KeyAlias{"max_new_tokens", "sampling.max_tokens"},
    KeyAlias{"max_completion_tokens", "sampling.max_tokens"},
    KeyAlias{"temp", "sampling.temperature"},
    KeyAlias{"generation", "sampling"},
    KeyAlias{"command", "argv"},
    KeyAlias{"cmd", "argv"},
    KeyAlias{"args", "argv"},
    KeyAlias{"array_size", "array"},
    KeyAlias{"gpu", "resources.gpus"},
    KeyAlias{"num_gpus", "resources.gpus"},
    KeyAlias{"accelerators", "resources.gpus"},
    KeyAlias{"cpu", "resources.cpus"},
    KeyAlias{"num_cpus", "resources.cpus"},
    KeyAlias{"num_nodes", "resources.nodes"},
    KeyAlias{"threads", "resources.threads_per_lane"},
    KeyAlias{"world_size", "resources.ranks"},
    KeyAlias{"nproc", "resources.ranks"},
    KeyAlias{"time_limit", "limits.max_duration"},
    KeyAlias{"timeout", "limits.max_duration"},
    KeyAlias{"walltime", "limits.max_duration"},
    KeyAlias{"max_cost", "limits.max_cost_usd"},
    KeyAlias{"max_price", "limits.max_cost_usd"},
    KeyAlias{"budget", "limits.max_cost_usd"},
    KeyAlias{"retries", "retry.max_attempts"},
    KeyAlias{"max_retries", "retry.max_attempts"},
    KeyAlias{"max_restarts", "retry.max_attempts"},
    KeyAlias{"type", "kind"},
    KeyAlias{"tags", "labels"},
    KeyAlias{"team", "project"},
    KeyAlias{"depends_on", "after"},
    KeyAlias{"needs", "after"},
};

std::string_view SectionOf(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
}

std::string_view LeafOf(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

bool IsKnown(std::string_view path, const std::vector<std::string>& all) {
  return std::find(all.begin(), all.end(), path) != all.end();
}

// The listed alias of `word` that is a key of this job kind: in `section` only, or anywhere.
std::optional<std::string_view> Aliased(std::string_view word, std::optional<std::string_view> section,
                                        const std::vector<std::string>& all) {
  for (const KeyAlias& alias : kAliases) {
    if (alias.word != word || !IsKnown(alias.path, all)) continue;
    if (!section || SectionOf(alias.path) == *section) return alias.path;
  }
  return std::nullopt;
}

}  // namespace

std::string KeySuggestion(std::string_view path, const std::vector<std::string>& all) {
  const std::string_view section = SectionOf(path);
  const std::string_view word = LeafOf(path);
  if (const auto alias = Aliased(word, section, all)) return fmt::format("; here it is called \"{}\"", LeafOf(*alias));
  std::vector<std::string> siblings;
  for (const std::string& known : all) {
    if (SectionOf(known) == section) siblings.emplace_back(LeafOf(known));
  }
  if (const auto near = NearestName(word, siblings)) return fmt::format("; did you mean \"{}\"?", *near);
  if (const auto alias = Aliased(word, std::nullopt, all)) return fmt::format("; here it is called \"{}\"", *alias);
  for (const std::string& known : all) {
    if (LeafOf(known) == word) return fmt::format("; did you mean \"{}\"?", known);
  }
  if (const auto near = NearestName(path, all)) return fmt::format("; did you mean \"{}\"?", *near);
  return "";
}

}  // namespace lorry
