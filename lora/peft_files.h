// PEFT's adapter directory: adapter_config.json and adapter_model.safetensors (github.com/huggingface/peft 0.21,
// config.py, utils/save_and_load.py; the keys are listed in docs/formats/adapter.md).
//
// Reading takes what PEFT writes: fp32, bf16 or fp16 tensors, unknown keys ignored unless they change the result, in
// which case the error (kUnsupported) names the key. Writing gives the same bytes for the same adapter.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "lora/adapter.h"
#include "model/format/model_config.h"

namespace lorry {

// The adapter in `directory`, checked against the base model: kData where a tensor is missing, superfluous or of
// another shape ("was it trained on another base?"), kNotFound where a file is not there.
Result<Adapter> ReadPeftAdapter(const std::filesystem::path& directory, const ModelConfig& model);

// Only the configuration.
Result<AdapterConfig> ReadPeftAdapterConfig(const std::filesystem::path& directory);

// Both files, each written whole (temporary name, fsync, rename), adapter_config.json last.
Status WritePeftAdapter(const std::filesystem::path& directory, const Adapter& adapter);

}  // namespace lorry
