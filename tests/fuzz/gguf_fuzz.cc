// Any bytes as a GGUF file, and everything that an import makes of it short of the files: Errors, never a crash.
#include <cstdint>
#include <span>
#include <vector>

#include "model/format/gguf_tensors.h"
#include "model/format/import_gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = lorry::GgufFile::Parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  std::vector<float> values;
  for (const lorry::GgufTensor& tensor : file->tensors()) {
    values.resize(static_cast<size_t>(tensor.ElementCount()));  // bounded: the blocks lie in the input
    lorry::Dequantize(tensor.type, tensor.bytes, values);
  }
  (void)lorry::GgufTokenizerJson(*file);
  (void)lorry::GgufTokenizerConfigJson(*file);
  (void)lorry::GgufGenerationConfigJson(*file);
  const auto text = lorry::GgufConfigJson(*file, lorry::DType::kF32);
  if (!text.ok()) return 0;
  const auto config = lorry::ParseModelConfigText(*text, "fuzz");
  if (config.ok()) (void)lorry::CheckTensors(*file, *config);
  return 0;
}
