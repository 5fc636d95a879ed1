#include "model/format/nf4.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

// Every step rounds where bitsandbytes rounds: the file is compiled with -ffp-contract=off, and std::fma stands where their
// compiled code has one.
namespace lorry {
namespace {

constexpr std::array<float, 16> kCodebook = {-1.0f,
                                             -0.6961928009986877f,
                                             -0.5250730514526367f,
                                             -0.39491748809814453f,
                                             -0.28444138169288635f,
                                             -0.18477343022823334f,
                                             -0.09105003625154495f,
                                             0.0f,
                                             0.07958029955625534f,
                                             0.16093020141124725f,
                                             0.24611230194568634f,
                                             0.33791524171829224f,
                                             0.44070982933044434f,
                                             0.5626170039176941f,
                                             0.7229568362236023f,
                                             1.0f};
constexpr float kSmallestScale = 1e-38f;  // what a block's largest number is taken for where it is less

using Block = std::array<float, kNf4Block>;

// Codes by `x > midpoint`: ties go down. Midpoint by midpoint, so that it vectorizes.
std::array<int32_t, kNf4Block> CodesOf(const Block& x) {
  std::array<int32_t, kNf4Block> codes{};
  for (size_t m = 0; m + 1 < kCodebook.size(); ++m) {
    const float midpoint = (kCodebook[m] + kCodebook[m + 1]) / 2;
    for (size_t i = 0; i < x.size(); ++i) codes[i] += midpoint < x[i] ? 1 : 0;
  }
  return codes;
}

// The positive entries of create_dynamic_map() but for 1: the middles of 2^i even parts of [0.1, 1] times 10^(i-6). As stored:
// torch.linspace, which they are made with, gives other last bits on other machines.
constexpr std::array<float, 127> kDynamicPositive = {
    5.5000004e-07f, 3.2500002e-06f, 7.75e-06f,      2.1249998e-05f, 4.375e-05f,     6.625e-05f,    8.875e-05f,    0.00015625001f,
    0.00026875004f, 0.00038125002f, 0.00049375003f, 0.0006062501f,  0.00071875006f, 0.00083125f,   0.0009437501f, 0.0012812499f,
    0.00184375f,    0.00240625f,    0.00296875f,    0.0035312497f,  0.00409375f,    0.0046562497f, 0.0052187503f, 0.00578125f,
    0.00634375f,    0.00690625f,    0.00746875f,    0.00803125f,    0.00859375f,    0.009156249f,  0.00971875f,   0.01140625f,
    0.01421875f,    0.01703125f,    0.019843752f,   0.02265625f,    0.02546875f,    0.028281251f,  0.03109375f,   0.03390625f,
    0.036718752f,   0.03953125f,    0.042343747f,   0.04515625f,    0.04796875f,    0.05078125f,   0.05359375f,   0.05640625f,
    0.059218753f,   0.06203125f,    0.06484375f,    0.067656256f,   0.070468746f,   0.07328125f,   0.07609375f,   0.07890625f,
    0.08171876f,    0.08453125f,    0.08734375f,    0.09015625f,    0.092968754f,   0.09578126f,   0.09859375f,   0.107031256f,
    0.12109375f,    0.13515624f,    0.14921875f,    0.16328125f,    0.17734376f,    0.19140625f,   0.20546874f,   0.21953125f,
    0.23359375f,    0.24765624f,    0.26171875f,    0.27578127f,    0.28984374f,    0.30390626f,   0.31796873f,   0.33203125f,
    0.34609374f,    0.36015624f,    0.37421876f,    0.38828123f,    0.40234375f,    0.41640624f,   0.43046874f,   0.44453126f,
    0.45859373f,    0.47265625f,    0.4867187f,     0.50078124f,    0.5148437f,     0.5289062f,    0.54296875f,   0.5570313f,
    0.5710938f,     0.58515626f,    0.5992187f,     0.61328125f,    0.6273438f,     0.6414063f,    0.65546876f,   0.6695312f,
    0.68359375f,    0.6976563f,     0.7117188f,     0.72578126f,    0.7398437f,     0.75390625f,   0.7679688f,    0.78203124f,
    0.79609376f,    0.8101562f,     0.82421875f,    0.8382813f,     0.85234374f,    0.86640626f,   0.8804687f,    0.89453125f,
    0.9085938f,     0.92265624f,    0.93671876f,    0.9507812f,     0.96484375f,    0.9789063f,    0.99296874f};

std::array<float, 256> MakeDynamicCodebook() {
  std::array<float, 256> codes{};
  for (size_t i = 0; i < kDynamicPositive.size(); ++i) {
    codes[126 - i] = -kDynamicPositive[i];
    codes[128 + i] = kDynamicPositive[i];
  }
  codes[255] = 1.0f;
  return codes;
}

// Code of each of 65,536 steps from -1 to 1: their table, which decides where a number lies near a midpoint.
const std::vector<uint8_t>& ScaleCodeTable() {
  static const std::vector<uint8_t> table = [] {
    const std::array<float, 256>& codes = DynamicCodebook();
    std::vector<uint8_t> t(65536);
    size_t code = 0;
    for (size_t i = 0; i < t.size(); ++i) {
      const float value = -1.0f + 2.0f * static_cast<float>(i) / 65535.0f;
      while (code < 255 && (codes[code] + codes[code + 1]) * 0.5f < value) ++code;
      t[i] = static_cast<uint8_t>(code);
    }
    return t;
  }();
  return table;
}

constexpr size_t kLanes = 8, kColumns = 4;  // torch's sum: vectors of eight (AVX2), four of them side by side
using SumRow = std::array<std::array<float, kLanes>, kColumns>;

void Add(SumRow& to, const SumRow& row) {
  for (size_t c = 0; c < kColumns; ++c)
    for (size_t lane = 0; lane < kLanes; ++lane) to[c][lane] += row[c][lane];
}

// torch's sum of one contiguous vector on one thread (aten/src/ATen/native/cpu/SumKernel.cpp, cascade_sum): partial sums are
// carried up four levels so that none grows long.
template <size_t kWidth>
std::array<float, kWidth> CascadeSum(std::span<const float> x) {
  constexpr size_t kLevels = 4;
  const size_t vectors = x.size() / kWidth, rows = vectors / kColumns;
  const size_t log2 = rows <= 1 ? 0 : static_cast<size_t>(std::ceil(std::log2(static_cast<double>(rows))));
  const size_t power = std::max<size_t>(4, log2 / kLevels), step = size_t{1} << power;
  std::array<SumRow, kLevels> sums{};
  const auto row_at = [&](size_t row) {
    SumRow values{};
    for (size_t c = 0; c < kColumns; ++c)
      for (size_t lane = 0; lane < kWidth; ++lane) values[c][lane] = x[(row * kColumns + c) * kWidth + lane];
    return values;
  };
  size_t row = 0;
  while (row + step <= rows) {
    for (size_t j = 0; j < step; ++j, ++row) Add(sums[0], row_at(row));
    for (size_t level = 1; level < kLevels; ++level) {
      Add(sums[level], sums[level - 1]);
      sums[level - 1] = {};
      if ((row & ((step - 1) << (level * power))) != 0) break;
    }
  }
  for (; row < rows; ++row) Add(sums[0], row_at(row));
  for (size_t level = 1; level < kLevels; ++level) Add(sums[0], sums[level]);
  std::array<float, kWidth> total{};
  for (size_t lane = 0; lane < kWidth; ++lane) {
    total[lane] = sums[0][0][lane];
    for (size_t v = rows * kColumns; v < vectors; ++v) total[lane] += x[v * kWidth + lane];
    for (size_t c = 1; c < kColumns; ++c) total[lane] += sums[0][c][lane];
  }
  return total;
}

float TorchMean(std::span<const float> x) {
  float sum = 0.0f;
  if (x.size() < kLanes) {
    sum += CascadeSum<1>(x)[0];
  } else {
    for (size_t i = x.size() / kLanes * kLanes; i < x.size(); ++i) sum += x[i];
    for (const float lane : CascadeSum<kLanes>(x)) sum += lane;
  }
  return sum / static_cast<float>(x.size());
}

Nf4NestedScales QuantizeScales(std::span<const float> scales, std::optional<float> offset) {
  Nf4NestedScales nested;
  nested.offset = offset ? *offset : TorchMean(scales);
  nested.codebook.assign(DynamicCodebook().begin(), DynamicCodebook().end());
  nested.codes.resize(scales.size());
  const std::vector<uint8_t>& table = ScaleCodeTable();
  for (size_t first = 0; first < scales.size(); first += kNf4NestedBlock) {
    const size_t end = std::min(scales.size(), first + kNf4NestedBlock);
    float largest = 0.0f;
    for (size_t i = first; i < end; ++i) largest = std::max(largest, std::abs(scales[i] - nested.offset));
    nested.absmax.push_back(largest);
    if (largest == 0.0f) continue;  // code 0, whose product with 0 is 0
    const float inverse = 1.0f / largest;
    for (size_t i = first; i < end; ++i) {
      const float x = std::clamp((scales[i] - nested.offset) * inverse, -1.0f, 1.0f);
      const float place = std::fma((x + 1.0f) * 0.5f, 65535.0f, 0.5f);
      nested.codes[i] = table[static_cast<uint16_t>(static_cast<int32_t>(place))];
    }
  }
  return nested;
}

// Divides the first `count` numbers of a block by its scale and gives that. The last block, where it is short, is divided; a
// whole one is multiplied by the reciprocal.
float Normalize(Block& x, size_t count) {
  float largest = 0.0f;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  const float divisor = std::max(largest, kSmallestScale), inverse = 1.0f / divisor;
  if (count < x.size()) {
    for (size_t i = 0; i < count; ++i) x[i] = std::clamp(x[i] / divisor, -1.0f, 1.0f);
    return divisor;
  }
  for (float& value : x) value = std::clamp(value * inverse, -1.0f, 1.0f);
  return largest;
}

// scale * codebook, rounded to `dtype`: what the sixteen codes of one block stand for.
void BlockValues(float scale, DType dtype, std::span<float, 16> values) {
  for (size_t i = 0; i < values.size(); ++i) values[i] = kCodebook[i] * scale;
  if (dtype == DType::kBF16) {
    for (float& value : values) value = BFloat16ToFloat(FloatToBFloat16(value));
  } else if (dtype == DType::kF16) {
    for (float& value : values) value = HalfToFloat(FloatToHalf(value));
  }
}

}  // namespace

const std::array<float, 16>& Nf4Codebook() { return kCodebook; }

const std::array<float, 256>& DynamicCodebook() {
  static const std::array<float, 256> codebook = MakeDynamicCodebook();
  return codebook;
}

int64_t Nf4Tensor::ElementCount() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

int64_t Nf4Tensor::Bytes() const {
  size_t bytes = packed.size() + absmax.size() * sizeof(float);
  if (nested) bytes += nested->codes.size() + (nested->absmax.size() + nested->codebook.size()) * sizeof(float);
  return static_cast<int64_t>(bytes);
}

float Nf4Tensor::Scale(int64_t block) const {
  const auto i = static_cast<size_t>(block);
  if (!nested) return absmax[i];
  return nested->codebook[nested->codes[i]] * nested->absmax[i / kNf4NestedBlock] + nested->offset;
}

Result<Nf4Tensor> QuantizeNf4(std::span<const std::byte> bytes, DType dtype, std::vector<int64_t> shape,
                              const Nf4Options& options) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("{} is not quantized to NF4", NameOf(dtype)),
                     "weights are F32, F16 or BF16");
  }
  Nf4Tensor tensor;
  tensor.shape = std::move(shape);
  tensor.dtype = dtype;
  const int64_t elements = tensor.ElementCount();
  tensor.packed.resize(static_cast<size_t>((elements + 1) / 2));
  tensor.absmax.resize(static_cast<size_t>(tensor.BlockCount()));
  const auto size = static_cast<int64_t>(SizeOf(dtype));
  for (int64_t block = 0; block < tensor.BlockCount(); ++block) {
    const int64_t first = block * kNf4Block, count = std::min(kNf4Block, elements - first);
    Block x{};  // a zero beyond the last number: it is the other half of an odd one's byte
    const std::span<float> values = std::span(x).first(static_cast<size_t>(count));
    LORRY_TRY(ToFloat(dtype, bytes.subspan(static_cast<size_t>(first * size), static_cast<size_t>(count * size)), values));
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isfinite(values[i])) continue;
      return MakeError(ErrorCode::kData, fmt::format("element {} is not a finite number", first + static_cast<int64_t>(i)));
    }
    tensor.absmax[static_cast<size_t>(block)] = Normalize(x, values.size());
    const std::array<int32_t, kNf4Block> codes = CodesOf(x);
    for (size_t i = 0; i < values.size(); i += 2) {
      tensor.packed[static_cast<size_t>(first) / 2 + i / 2] = static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]);
    }
  }
  if (options.double_quantization) {
    tensor.nested = QuantizeScales(tensor.absmax, options.offset);
    tensor.absmax = {};
  }
  return tensor;
}

void DequantizeNf4(const Nf4Tensor& tensor, int64_t first, std::span<float> values) {
  std::array<float, 16> of_block;
  int64_t block = -1;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t element = first + static_cast<int64_t>(i);
    if (element / kNf4Block != block) {
      block = element / kNf4Block;
      BlockValues(tensor.Scale(block), tensor.dtype, of_block);
    }
    const uint8_t pair = tensor.packed[static_cast<size_t>(element / 2)];
    values[i] = of_block[element % 2 == 0 ? pair >> 4 : pair & 15];
  }
}

}  // namespace lorry
