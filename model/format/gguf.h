// GGUF files (version 2 and 3, little-endian): metadata and tensors by memory map, and dequantization to float.
//
// Sources: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and, for the block formats, the `gguf` Python package,
// to which Dequantize() is bit-equal for every type listed here. docs/formats/tensors.md describes the blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/files.h"
#include "base/result.h"

namespace lorry {

// The numbers are those of the file format.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlBlock {
  size_t elements;
  size_t bytes;
};
GgmlBlock BlockOf(GgmlType type);
std::string_view NameOf(GgmlType type);  // "Q4_K"

// REQUIRES: values.size() is a multiple of the block and blocks.size() is what they need.
void Dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> values);

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;        // slowest dimension first, as in safetensors (the file has them the other way round)
  std::span<const std::byte> bytes;  // lives as long as the GgufFile

  int64_t ElementCount() const;
};

// Metadata: whole numbers become int64 (double above 2^63 - 1), floats double, and arrays stay arrays of one of these;
// an array of booleans is one of 0 and 1.
using GgufValue =
    std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

// One open file. Movable; const members may be called from any thread.
class GgufFile {
 public:
  // kData for what the format does not allow, kUnsupported for a version, byte order or block type not listed above.
  static Result<GgufFile> Open(const std::filesystem::path& path);
  // The same from memory; `bytes` must outlive the result. `name` stands in error texts.
  static Result<GgufFile> Parse(std::span<const std::byte> bytes, const std::string& name);

  const std::string& name() const { return name_; }  // the path, for error texts
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* Find(std::string_view tensor) const;
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }

  // A key of the metadata: nullopt where it is absent, an Error where it has another type or does not fit.
  Result<std::optional<std::string>> Text(std::string_view key) const;
  Result<std::optional<int64_t>> Int(std::string_view key) const;
  Result<std::optional<double>> Float(std::string_view key) const;  // an integer is taken too
  Result<std::optional<bool>> Bool(std::string_view key) const;
  const std::vector<std::string>* Texts(std::string_view key) const;  // null where absent or of another type
  const std::vector<int64_t>* Ints(std::string_view key) const;
  const std::vector<double>* Floats(std::string_view key) const;

 private:
  std::string name_;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;

  friend class GgufParser;
};

}  // namespace lorry
