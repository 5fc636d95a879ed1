// NF4 weights as ATen sees them: dequantized into a tensor, and kept in four bits on a device that is not the CPU.
#pragma once

#include <ATen/ATen.h>

#include "model/format/nf4.h"

namespace lorry {

// The whole weight, of its own dtype, on the CPU.
at::Tensor DequantizedTensor(const Nf4Tensor& weight);

// A float tensor [out, in] on the CPU, with double quantization. kData where a number is not finite.
Result<Nf4Tensor> QuantizedTensor(const at::Tensor& weight);

// A weight whose codes and scales lie on a device, and are dequantized there by ATen for each product.
// Threads: const members from any number of threads.
class Nf4OnDevice {
 public:
  Nf4OnDevice(const Nf4Tensor& weight, at::Device device);
  // [out, in]: rounded to the weight's dtype, then to `dtype`. DequantizedTensor's numbers.
  at::Tensor Dequantize(at::ScalarType dtype) const;

 private:
  at::Tensor Scales() const;  // one a block

  std::vector<int64_t> shape_;
  at::ScalarType dtype_;
  at::Tensor packed_, codebook_;
  at::Tensor absmax_;                                   // fp32; or, where it is quantized,
  at::Tensor codes_, nested_absmax_, nested_codebook_;  // uint8, fp32, fp32
  float offset_ = 0.0f;
};

}  // namespace lorry
