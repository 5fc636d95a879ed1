// What `lorry merge` and `lorry export` have written: a model, with an adapter folded in or not, as a Hugging Face directory or
// as a GGUF file. One tensor at a time: neither the base nor the merged model is ever whole in memory.
#pragma once

#include <string>

#include "base/result.h"

namespace lorry {

struct ModelExportOptions {
  std::string model;              // directory, as Hugging Face lays it out
  std::string adapter;            // PEFT's directory; empty: none
  std::string format;             // "safetensors", "gguf" or "nf4"; the last of a model without adapter
  std::string dtype;              // of safetensors: "float32", "bfloat16", "float16"; empty: each weight as the model stores it
  std::string gguf_type = "f16";  // of a GGUF's matrices: "f32", "f16", "q8_0"
  std::string name;               // a GGUF's general.name; may be empty
  std::string out;                // gguf: the file; else a directory that is there and empty
};

// Errors: kData for an adapter of another base or with values that are not finite, and what ModelDirectory, ReadPeftAdapter,
// WriteModelCopy and ExportGguf say. How many linears an adapter changed; 0 without one.
Result<int64_t> RunModelExport(const ModelExportOptions& options);

}  // namespace lorry
