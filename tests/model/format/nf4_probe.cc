// nf4_probe quantize IN.safetensors OUT.safetensors   each tensor both ways: "double." and "single." before what is stored, and
// the
//                                                     dequantized numbers in F32; NAME.offset (F32 [1]) is the scales' mean to
//                                                     use
// nf4_probe dequantize MODEL_DIR OUT.safetensors      the linears of a 4-bit checkpoint
// nf4_probe export MODEL_DIR OUT_DIR                  writes a 4-bit checkpoint
// What tests/live/nf4_live.py runs before it compares with bitsandbytes.
#include <fmt/core.h>

#include <cstring>
#include <string>
#include <vector>

#include "model/format/model_directory.h"
#include "model/format/nf4_checkpoint.h"

namespace {

using lorry::Nf4Piece;
using lorry::Status;

Nf4Piece Dequantized(const std::string& name, const lorry::Nf4Tensor& tensor, lorry::DType dtype) {
  std::vector<float> values(static_cast<size_t>(tensor.ElementCount()));
  lorry::DequantizeNf4(tensor, 0, values);
  Nf4Piece piece{{name, dtype, tensor.shape}, std::vector<std::byte>(values.size() * lorry::SizeOf(dtype))};
  (void)lorry::FromFloat(dtype, values, piece.bytes);
  return piece;
}

Status WritePieces(const std::string& path, const std::vector<Nf4Piece>& pieces) {
  std::vector<lorry::TensorView> views;
  for (const Nf4Piece& piece : pieces) views.push_back({piece.head, piece.bytes});
  return lorry::WriteSafetensors(path, views);
}

Status Quantize(const std::string& in, const std::string& out) {
  LORRY_ASSIGN_OR_RETURN(const lorry::SafetensorsFile file, lorry::SafetensorsFile::Open(in));
  std::vector<Nf4Piece> pieces;
  for (const lorry::TensorView& plain : file.tensors()) {
    if (plain.name.ends_with(".offset")) continue;
    for (const bool doubly : {true, false}) {
      lorry::Nf4Options options{.double_quantization = doubly};
      if (const lorry::TensorView* offset = file.Find(plain.name + ".offset")) {
        std::memcpy(&options.offset.emplace(), offset->bytes.data(), sizeof(float));
      }
      LORRY_ASSIGN_OR_RETURN(const lorry::Nf4Tensor tensor, lorry::QuantizeNf4(plain.bytes, plain.dtype, plain.shape, options));
      const std::string name = (doubly ? "double." : "single.") + plain.name;
      for (Nf4Piece& piece : lorry::StoredPieces(name, tensor)) pieces.push_back(std::move(piece));
      pieces.push_back(Dequantized(name + ".dequantized", tensor, lorry::DType::kF32));
    }
  }
  return WritePieces(out, pieces);
}

Status Dequantize(const std::string& dir, const std::string& out) {
  LORRY_ASSIGN_OR_RETURN(const lorry::ModelDirectory model, lorry::ModelDirectory::Open(dir));
  std::vector<Nf4Piece> pieces;
  for (const lorry::ExpectedTensor& module : lorry::LinearModules(model.config())) {
    const std::string weight = module.name + ".weight";
    if (!model.IsNf4(weight)) continue;
    LORRY_ASSIGN_OR_RETURN(const lorry::Nf4Tensor tensor, model.GetNf4(weight));
    pieces.push_back(Dequantized(weight, tensor, tensor.dtype));
  }
  return WritePieces(out, pieces);
}

Status Export(const std::string& dir, const std::string& out) {
  LORRY_ASSIGN_OR_RETURN(const lorry::ModelDirectory model, lorry::ModelDirectory::Open(dir));
  return lorry::WriteNf4Checkpoint(model, out, {});
}

int Report(const Status& status) {
  if (status.ok()) return 0;
  fmt::print(stderr, "{}\n", status.error().Format());
  return lorry::ExitStatusOf(status.error().code);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 3 && words[0] == "quantize") return Report(Quantize(words[1], words[2]));
  if (words.size() == 3 && words[0] == "dequantize") return Report(Dequantize(words[1], words[2]));
  if (words.size() == 3 && words[0] == "export") return Report(Export(words[1], words[2]));
  fmt::print(stderr, "usage: nf4_probe quantize IN OUT | dequantize MODEL_DIR OUT | export MODEL_DIR OUT_DIR\n");
  return 2;
}
