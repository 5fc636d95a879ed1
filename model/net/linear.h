// One frozen linear, or several that read the same input laid side by side (q, k and v; gate and up).
//
// On the CPU its weights are packed (gemm.h) and the tensor itself is not kept; elsewhere they are plain tensors and ATen
// multiplies. A row's result depends on that row alone, in both precisions.
//
// Or its weights stay in NF4, four bits each, and are dequantized a panel at a time (nf4_panels.h; elsewhere whole, for one
// product): the same bits as from the dequantized weights, a little slower, in an eighth of fp32's memory and less.
//
// Threads: const members from any number of threads.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/net/gemm.h"
#include "model/net/nf4_tensors.h"
#include "model/net/precision.h"

namespace lorry {

at::ScalarType ToScalarType(Precision precision);

// One of the linears side by side.
struct LinearPart {
  at::Tensor weight;  // [out, in], on the device it shall stay on, any float dtype
  at::Tensor bias;    // [out] or undefined
};

// The same in four bits.
struct Nf4LinearPart {
  std::shared_ptr<const Nf4Tensor> weight;  // [out, in]
  at::Tensor bias;                          // [out] or undefined
};

// A product that joins a linear's own in the same pass (CPU): y += x b.
struct JoinedTerm {
  at::Tensor x;                     // [T, b->k()], last stride 1
  const PackedMatrix* b = nullptr;  // null: none
};

class Linear {
 public:
  Linear() = default;
  // `backward` also packs for ApplyTransposed. All parts have one `in`.
  Linear(const std::vector<LinearPart>& parts, Precision precision, bool backward);
  Linear(const std::vector<Nf4LinearPart>& parts, Precision precision, bool backward, at::Device device);

  // [T, in] -> [T, out]; x of the linear's precision, last stride 1.
  at::Tensor Apply(const at::Tensor& x) const;
  // The same without the bias, in fp32: what the rows of W have along those of x.
  at::Tensor ApplyWithoutBias(const at::Tensor& x) const;
  // [T, out] -> [T, in] = dy W. REQUIRES: made with `backward`.
  at::Tensor ApplyTransposed(const at::Tensor& dy) const;

  // The same into a tensor of yours (y [T, out], precision's dtype or fp32), CPU only: `joined` is empty or has one entry
  // per part; `residual` ([T, out], may be y) is added where it is defined.
  void ApplyInto(const at::Tensor& x, std::span<const JoinedTerm> joined, const at::Tensor& residual, at::Tensor y) const;
  // dx = dy W + joined; with `accumulate` (fp32 dx only) dx +=.
  void ApplyTransposedInto(const at::Tensor& dy, const JoinedTerm& joined, bool accumulate, at::Tensor dx) const;

  // The sum of squares of each row of W, [out]; columns are added in order.
  std::vector<double> RowSquares() const;
  const at::Tensor& bias() const { return bias_; }  // [out], not defined where there is none

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  bool defined() const { return out_ > 0; }
  size_t parts() const { return part_out_.size(); }
  // Columns [begin, begin + size) of y are part `index`.
  int64_t part_begin(size_t index) const { return part_begin_[index]; }
  int64_t part_out(size_t index) const { return part_out_[index]; }
  int64_t ResidentBytes() const { return resident_bytes_; }

 private:
  void Multiply(const at::Tensor& x, std::span<const JoinedTerm> joined, const at::Tensor& residual, const float* bias,
                const at::Tensor& y) const;
  void AddPart(int64_t out, int64_t in);
  // biases: one per part, undefined where it has none.
  void SetBias(const std::vector<at::Tensor>& biases, at::Device device);
  at::Tensor PlainWeight() const;  // [out, in]; elsewhere than on the CPU

  int64_t in_ = 0, out_ = 0;
  Precision precision_ = Precision::kFp32;
  std::vector<int64_t> part_begin_, part_out_;
  std::vector<std::unique_ptr<PanelMatrix>> forward_;  // CPU: one per part
  std::unique_ptr<PanelMatrix> backward_;              // CPU, with `backward`: all parts
  at::Tensor plain_weight_;                            // elsewhere: [out, in]
  std::vector<Nf4OnDevice> plain_nf4_;                 // or in its place
  at::Tensor bias_;                                    // [out] fp32 on the CPU, the precision's dtype elsewhere
  int64_t resident_bytes_ = 0;
};

}  // namespace lorry
