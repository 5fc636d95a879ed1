// Between tensors and the raw rows that the kernels read.
#pragma once

#include <ATen/ATen.h>

#include "model/net/row_kernels.h"

namespace lorry {

// Whether the CPU kernels can take it; plain ATen operations otherwise.
inline bool HasKernel(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}
inline Precision PrecisionOf(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? Precision::kBf16 : Precision::kFp32;
}

// REQUIRES: contiguous.
inline RowsIn RowsOf(const at::Tensor& x) { return {static_cast<const std::byte*>(x.const_data_ptr()), x.size(-1)}; }
inline RowsOut MutableRowsOf(const at::Tensor& x) { return {static_cast<std::byte*>(x.data_ptr()), x.size(-1)}; }

// What the plain forms compute in: fp32, or fp64 where a test asks for it.
inline at::ScalarType WideType(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }
inline at::Tensor Widen(const at::Tensor& x) { return x.to(WideType(x)); }

}  // namespace lorry
