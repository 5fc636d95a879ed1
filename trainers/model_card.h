// README.md of an adapter: a model card as the Hugging Face hub reads it, the same bytes for the same run.
#pragma once

#include <string>

#include "trainers/dataset.h"
#include "trainers/trainer.h"

namespace lorry::trainers {

std::string ModelCard(const TrainingOptions& options, const Dataset& training, const Trainer& trainer);

}  // namespace lorry::trainers
