// Any bytes as the shard of a 4-bit checkpoint (its tensor "w" [7, 67]) and as a quantization_config: an Error, or a weight whose
// every number can be dequantized and whose pieces are read again as the same.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "model/format/nf4_checkpoint.h"

namespace {

std::vector<float> Numbers(const lorry::Nf4Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.ElementCount()));
  lorry::DequantizeNf4(tensor, 0, values);
  return values;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = lorry::ParseJson({reinterpret_cast<const char*>(data), size});
  if (json.ok()) (void)lorry::CheckQuantizationConfig(*json, "fuzz");
  const auto file = lorry::SafetensorsFile::Parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  const auto stored = lorry::FindNf4([&](std::string_view name) { return file->Find(name); }, "w", {7, 67});
  if (!stored.ok()) return 0;
  const auto tensor = lorry::ReadNf4(*stored);
  if (!tensor.ok()) return 0;
  const std::vector<float> numbers = Numbers(*tensor);

  std::vector<lorry::TensorView> views;
  const std::vector<lorry::Nf4Piece> pieces = lorry::StoredPieces("w", *tensor);
  for (const lorry::Nf4Piece& piece : pieces) views.push_back({piece.head, piece.bytes});
  const auto find = [&](std::string_view name) -> const lorry::TensorView* {
    for (const lorry::TensorView& view : views)
      if (view.name == name) return &view;
    return nullptr;
  };
  const auto again = lorry::FindNf4(find, "w", {7, 67});
  if (!again.ok()) abort();
  const auto same = lorry::ReadNf4(*again);
  if (!same.ok() || std::memcmp(Numbers(*same).data(), numbers.data(), numbers.size() * sizeof(float)) != 0) abort();
  return 0;
}
