// GGUF files written: version 3, little-endian, as llama.cpp and the `gguf` Python package read them; the same bytes for the same
// content. gguf.h reads them back. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
//
// Threads: functions of their arguments alone; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/format/gguf.h"

namespace lorry {

// A value of the metadata, in the type that stands in the file: llama.cpp asks for each key in one type and takes no other.
using GgufStored =
    std::variant<bool, uint32_t, float, std::string, std::vector<int32_t>, std::vector<float>, std::vector<std::string>>;

struct GgufPair {
  std::string key;
  GgufStored value;
};

struct GgufTensorHead {
  std::string name;  // at most 63 bytes: llama.cpp's limit
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  // slowest dimension first, as in GgufTensor

  int64_t ElementCount() const;
  size_t ByteCount() const;  // of the blocks
};

// Writes the pairs and then the tensors, in the order given. `fill` is called once for each tensor, in that order, with room for
// exactly its blocks; its error is passed on. The file appears whole or not at all. kInternal for a name that is there twice or
// too long and for rows that are no multiple of the block.
using FillGgufTensor = std::function<Status(size_t index, std::span<std::byte> blocks)>;
Status WriteGguf(const std::filesystem::path& path, const std::vector<GgufPair>& pairs,
                 const std::vector<GgufTensorHead>& tensors, const FillGgufTensor& fill);

// Floats to blocks: F32, F16 and BF16 rounded to nearest even, Q8_0 as ggml's quantize_row_q8_0_ref (bit-equal to gguf.quants).
// kUnsupported for another type; kData where a value is not finite, or larger than the type holds.
// REQUIRES: values.size() is a multiple of the block and blocks.size() is what they need.
Status Quantize(GgmlType type, std::span<const float> values, std::span<std::byte> blocks);

}  // namespace lorry
