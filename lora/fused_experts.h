// Adapters as PEFT makes them on transformers 5, where a layer's experts are two weights, gate_up_proj [E, 2 I, M] and down_proj
// [E, M, I], named by `target_parameters`. Source: PEFT 0.21, tuners/lora/layer.py, ParamWrapper.
//
// Of one parameter with E experts at rank r the files have A [r E, in], expert by expert, and B [out, r E], whose columns go
// through the experts of rank 0, then those of rank 1, and so on. gate_up_proj is the inner one
// ("...mlp.experts.base_layer.lora_A.weight"), down_proj the outer ("...mlp.experts.lora_A.weight").
//
// Here they become matrices of each expert's linears: gate and up each get the A that they share there. What the model computes
// is the same; training on would let the two part, and is refused (trainers).
#pragma once

#include <set>
#include <string>

#include "base/result.h"
#include "lora/adapter.h"
#include "model/format/model_config.h"
#include "model/format/safetensors.h"

namespace lorry {

// From a configuration with target_parameters to one that names the same in target_modules. kUnsupported, naming what, for
// parameters other than both of the experts' together and the router's, and for ranks that differ from layer to layer.
Status UnfuseTargets(const ModelConfig& model, AdapterConfig& config);

// Fills the experts' and routers' values of `adapter`, made from such a configuration, and inserts the names that were read.
// `path` stands in error texts: kData where a tensor is missing or has another shape.
Status ReadFusedExperts(const SafetensorsFile& file, const std::string& path, const ModelConfig& model, Adapter& adapter,
                        std::set<std::string>& read);

}  // namespace lorry
