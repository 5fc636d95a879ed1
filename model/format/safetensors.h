// safetensors files: read by memory map, written atomically and always with the same bytes.
//
// Layout (https://github.com/huggingface/safetensors): u64 little-endian header length N (at most 100 MB), N bytes of JSON
// {name: {dtype, shape, data_offsets: [begin, end)}, "__metadata__": {text: text}}, then the data, row-major. The data must be
// covered by the tensors without a gap or an overlap. docs/formats/tensors.md has what is refused and why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "model/format/dtype.h"

namespace lorry {

// What a header says of one tensor.
struct TensorHead {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // slowest dimension first; empty is a scalar

  int64_t ElementCount() const;
  size_t ByteCount() const { return static_cast<size_t>(ElementCount()) * SizeOf(dtype); }
};

// A tensor in a mapped file. `bytes` lives as long as the file object it came from.
struct TensorView : TensorHead {
  std::span<const std::byte> bytes;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// One open file. Movable; const members may be called from any thread. The file must not be shortened while it is open.
class SafetensorsFile {
 public:
  // Errors (kData, with the file's name) for anything the format does not allow; kNotFound if there is no such file.
  static Result<SafetensorsFile> Open(const std::filesystem::path& path);
  // The same from memory; `bytes` must outlive the result. `name` stands in error texts.
  static Result<SafetensorsFile> Parse(std::span<const std::byte> bytes, const std::string& name);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in the order of their data
  const TensorView* Find(std::string_view name) const;                 // null if there is none
  const SafetensorsMetadata& metadata() const { return metadata_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  SafetensorsMetadata metadata_;
};

// Writes tensors in the package's order (element type, then name). The file appears whole or not at all.
Status WriteSafetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                        const SafetensorsMetadata& metadata = {{"format", "pt"}});

// The same without all tensors in memory at once: `fill` is called once per tensor, in the file's order, with room for
// exactly its bytes. An error from `fill` is passed on and no file appears.
using FillTensor = std::function<Status(const TensorHead& head, std::span<std::byte> bytes)>;
Status WriteSafetensorsStreamed(const std::filesystem::path& path, std::vector<TensorHead> heads,
                                const SafetensorsMetadata& metadata, const FillTensor& fill);

}  // namespace lorry
