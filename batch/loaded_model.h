// A model directory, with or without an adapter, ready for the engines: weights, tokenizer, chat template, end tokens.
//
// No LibTorch in this header: task and commands are built without it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "batch/decode_model.h"
#include "model/format/chat_template.h"
#include "model/format/tokenizer.h"

namespace lorry {

struct ModelChoice {
  std::string directory;  // as Hugging Face lays it out
  std::string adapter;    // PEFT's directory; empty: none
  std::string dtype;      // "float32"; "bfloat16" or empty: bfloat16 where the CPU has it at full rate, else float32
  bool merge = true;      // fold the adapter into the weights, rather than compute it beside them
};

struct LoadedModel {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::vector<TokenId> end_tokens;  // of generation_config.json, else config.json, else the tokenizer's
  std::string dtype;                // that it computes in
  std::string arithmetic;  // whose kernels (model/net/arithmetic.h): results are the same bytes only where this is the same
  // A model object for one lane; all of them share the weights. Any thread.
  std::function<std::unique_ptr<DecodeModel>()> new_lane;

  const ChatTemplate* chat() const { return chat_template ? &*chat_template : nullptr; }
};

Result<LoadedModel> LoadModel(const ModelChoice& choice);

// The calling thread's share of the machine: once per lane, before its first computation.
void SetLaneThreads(int threads);

}  // namespace lorry
