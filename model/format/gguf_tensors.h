// How llama.cpp names and arranges a decoder's tensors, against Hugging Face's names and order.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/format/gguf.h"
#include "model/format/model_config.h"
#include "model/format/safetensors.h"

namespace lorry {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". REQUIRES: a name of ExpectedTensors().
std::string GgufNameOf(std::string_view hugging_face_name);

// That the file holds the tensors of a model of this configuration, each in its shape, and no others: before anything of the
// sizes that its metadata claims is asked of memory. kData for one that is missing or shaped otherwise, kUnsupported for one that
// has no place; each is named.
Status CheckTensors(const GgufFile& file, const ModelConfig& config);

// Fills `values` with the tensor's numbers in Hugging Face's order. For architecture llama, the rows of q and k of each head
// are taken back from llama.cpp's order (the two halves of the rotary pairs interleaved).
// REQUIRES: CheckTensors() found nothing; values.size() is the tensor's element count.
void ReadGgufTensor(const GgufFile& file, const ModelConfig& config, const TensorHead& head, std::span<float> values);

// The other way: numbers in Hugging Face's order become llama.cpp's. `head` has the Hugging Face name.
void ArrangeForGguf(const ModelConfig& config, const TensorHead& head, std::span<float> values);

}  // namespace lorry
