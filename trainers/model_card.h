// README.md of an adapter: a model card as the Hugging Face hub reads it, the same bytes for the same run.
#pragma once

#include <string>

#include "lora/adapter.h"
#include "trainers/dataset.h"
#include "trainers/trainer.h"

namespace lorry::trainers {

// `adapter` is the trained one's, which is not the options' where the run began from an adapter.
std::string ModelCard(const TrainingOptions& options, const AdapterConfig& adapter, const Dataset& training,
                      const Trainer& trainer);

}  // namespace lorry::trainers
