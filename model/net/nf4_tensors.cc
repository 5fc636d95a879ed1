#include "model/net/nf4_tensors.h"

#include "model/net/nf4_panels.h"

namespace lorry {
namespace {

at::ScalarType ScalarTypeOf(DType dtype) {
  return dtype == DType::kBF16 ? at::kBFloat16 : dtype == DType::kF16 ? at::kHalf : at::kFloat;
}

template <class T>
at::Tensor OnDevice(std::span<const T> values, at::ScalarType dtype, at::Device device) {
  // ATen has no view of constant memory; it is copied from at once.
  const at::Tensor view = at::from_blob(const_cast<T*>(values.data()), {static_cast<int64_t>(values.size())}, dtype);
  return view.to(device, dtype, false, true);
}

}  // namespace

at::Tensor DequantizedTensor(const Nf4Tensor& weight) {
  at::Tensor values = at::empty(weight.shape, at::kFloat);
  DequantizeNf4Run(weight, 0, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values.to(ScalarTypeOf(weight.dtype));
}

Result<Nf4Tensor> QuantizedTensor(const at::Tensor& weight) {
  const at::Tensor whole = weight.contiguous();
  const at::ScalarType type = whole.scalar_type();
  const DType dtype = type == at::kBFloat16 ? DType::kBF16 : type == at::kHalf ? DType::kF16 : DType::kF32;
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes());
  return QuantizeNf4(bytes, dtype, whole.sizes().vec(), {});
}

Nf4OnDevice::Nf4OnDevice(const Nf4Tensor& weight, at::Device device)
    : shape_(weight.shape),
      dtype_(ScalarTypeOf(weight.dtype)),
      packed_(OnDevice<uint8_t>(weight.packed, at::kByte, device)),
      codebook_(OnDevice<float>(Nf4Codebook(), at::kFloat, device)) {
  if (!weight.nested) {
    absmax_ = OnDevice<float>(weight.absmax, at::kFloat, device);
    return;
  }
  codes_ = OnDevice<uint8_t>(weight.nested->codes, at::kByte, device);
  nested_absmax_ = OnDevice<float>(weight.nested->absmax, at::kFloat, device);
  nested_codebook_ = OnDevice<float>(weight.nested->codebook, at::kFloat, device);
  offset_ = weight.nested->offset;
}

at::Tensor Nf4OnDevice::Scales() const {
  if (absmax_.defined()) return absmax_;
  const at::Tensor steps = nested_codebook_.index_select(0, codes_.to(at::kInt));
  return steps * nested_absmax_.repeat_interleave(kNf4NestedBlock).narrow(0, 0, steps.size(0)) + offset_;
}

at::Tensor Nf4OnDevice::Dequantize(at::ScalarType dtype) const {
  const int64_t elements = c10::multiply_integers(shape_);
  const at::Tensor codes = at::stack({packed_.bitwise_right_shift(4), packed_.bitwise_and(15)}, 1).view({-1});
  at::Tensor values = codebook_.index_select(0, codes.narrow(0, 0, elements).to(at::kInt));
  values.mul_(Scales().repeat_interleave(kNf4Block).narrow(0, 0, elements));
  return values.to(dtype_).to(dtype).view(shape_);
}

}  // namespace lorry
