#include "trainers/model_card.h"

#include <fmt/format.h>

#include <filesystem>

namespace lorry::trainers {

std::string ModelCard(const TrainingOptions& options, const AdapterConfig& adapter, const Dataset& training,
                      const Trainer& trainer) {
  std::string card = fmt::format(
      "---\nbase_model: {}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- lorry\n---\n\n"
      "# A LoRA adapter for {}\n\nTrained by Lorry.\n\n| | |\n|---|---|\n",
      options.base_name, options.base_name);
  const auto row = [&](const char* name, const std::string& value) { card += fmt::format("| {} | {} |\n", name, value); };
  row("rank, alpha", fmt::format("{}, {}", adapter.r, adapter.alpha));
  std::string modules;
  for (const std::string& module : adapter.target_modules) modules += (modules.empty() ? "" : ", ") + module;
  row("target modules", modules);
  row("data", fmt::format("{}, {} rows; loss on {}", std::filesystem::path(training.file).filename().string(), training.rows(),
                          options.loss_on));
  row("steps", fmt::format("{}", trainer.steps_done()));
  row("learning rate", fmt::format("{}", options.learning_rate));
  row("base weights", options.qlora ? "linears in NF4 with double quantization (QLoRA)" : "as stored");
  row("precision", options.bf16 ? "bf16, adapter in fp32" : "fp32");
  row("seed", fmt::format("{}", options.seed));
  if (trainer.best().step > 0) {
    row("best held-out loss", fmt::format("{:.4f} at step {}", trainer.best().loss, trainer.best().step));
  }
  return card;
}

}  // namespace lorry::trainers
