#include "model/format/dtype.h"

#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <limits>

namespace lorry {
namespace {

TEST_CASE("every half and bfloat16 survives the way to float and back") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto stored = static_cast<uint16_t>(bits);
    const float half = HalfToFloat(stored);
    if (std::isnan(half)) {
      CHECK(std::isnan(HalfToFloat(FloatToHalf(half))));
    } else if (FloatToHalf(half) != stored) {
      FAIL("half " << bits);
    }
    const float brain = BFloat16ToFloat(stored);
    if (std::isnan(brain)) {
      if (!std::isnan(BFloat16ToFloat(FloatToBFloat16(brain)))) FAIL("bfloat16 " << bits);
    } else if (FloatToBFloat16(brain) != stored) {
      FAIL("bfloat16 " << bits);
    }
  }
}

TEST_CASE("rounding is to nearest, ties to even") {
  struct Row {
    float value;
    uint16_t half, brain;
  };
  const Row rows[] = {
      {1.0f, 0x3c00, 0x3f80},
      {1.0f + 0x1p-11f, 0x3c00, 0x3f80},  // a tie for half: to even
      {1.0f + 0x1p-11f + 0x1p-20f, 0x3c01, 0x3f80},
      {1.0f + 3 * 0x1p-11f, 0x3c02, 0x3f80},  // a tie: up, to even
      {1.0f + 0x1p-8f, 0x3c04, 0x3f80},       // a tie for bfloat16
      {65504.0f, 0x7bff, 0x4780},
      {65519.99f, 0x7bff, 0x4780},
      {65520.0f, 0x7c00, 0x4780},
      {0x1p-24f, 0x0001, 0x3380},
      {0x1p-25f, 0x0000, 0x3300},
      {1.5f * 0x1p-25f, 0x0001, 0x3340},
      {-0.0f, 0x8000, 0x8000},
      {std::numeric_limits<float>::infinity(), 0x7c00, 0x7f80},
      {std::numeric_limits<float>::max(), 0x7c00, 0x7f80},
  };
  for (const Row& row : rows) {
    CAPTURE(row.value);
    CHECK(FloatToHalf(row.value) == row.half);
    CHECK(FloatToBFloat16(row.value) == row.brain);
  }
}

TEST_CASE("element types have the names of both worlds") {
  CHECK(*DTypeFromName("BF16") == DType::kBF16);
  CHECK(*DTypeFromTorchName("bfloat16") == DType::kBF16);
  CHECK(*DTypeFromTorchName("bf16") == DType::kBF16);
  CHECK(TorchNameOf(DType::kF32) == "float32");
  CHECK(DTypeFromName("F4").error().code == ErrorCode::kUnsupported);
  CHECK(DTypeFromTorchName("int8").error().hint == "use float32, bfloat16 or float16");
}

}  // namespace
}  // namespace lorry
