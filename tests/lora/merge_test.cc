// An adapter folded into weights: which bits come out, whoever asks for them.
#include "lora/merge.h"

#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/files.h"
#include "lora/merge_kernel.h"
#include "lora/peft_files.h"
#include "model/format/model_directory.h"

namespace lorry {
namespace {

const std::string kCase = "tests/golden/decoder/gqa_tied";

std::vector<float> Random(size_t count, uint32_t seed) {
  std::vector<float> values(count);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int32_t>(seed)) * 0x1p-33f;
  }
  return values;
}

TEST_CASE("a row is the plain sum over the rank, fused, then scaled, then added", "[merge]") {
  for (const auto& [in, r] : {std::pair<int64_t, int64_t>{1, 1}, {7, 3}, {1024, 8}, {1031, 16}, {2500, 5}}) {
    CAPTURE(in, r);
    const std::vector<float> a = Random(static_cast<size_t>(r * in), 1), b = Random(static_cast<size_t>(r), 2);
    std::vector<float> row = Random(static_cast<size_t>(in), 3);
    std::vector<float> plain = row;
    AddLowRankRow(row.data(), b.data(), {a.data(), r, in, 1.7f});
    for (int64_t i = 0; i < in; ++i) {
      float sum = 0.0f;
      for (int64_t k = 0; k < r; ++k) sum = std::fma(b[static_cast<size_t>(k)], a[static_cast<size_t>(k * in + i)], sum);
      volatile const float scaled = sum * 1.7f;  // rounded by itself
      plain[static_cast<size_t>(i)] += scaled;
    }
    CHECK(std::memcmp(row.data(), plain.data(), row.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("weights folded at load and those that are written have the same bits, with any number of threads", "[merge]") {
  const ModelDirectory model = *ModelDirectory::Open(kCase);
  const Adapter adapter = *ReadPeftAdapter(kCase + "/adapter", model.config());
  const WeightPatch patch = MergePatch(adapter);
  const ReadWeight read = MergedRead(adapter);
  int64_t changed = 0;
  for (const ExpectedTensor& expected : ExpectedTensors(model.config())) {
    CAPTURE(expected.name);
    const TensorView stored = *model.Get(expected.name);
    const at::Tensor view = *ViewOf(stored);
    std::vector<float> one(static_cast<size_t>(stored.ElementCount())), four(one.size());
    at::set_num_threads(1);
    REQUIRE(read(stored, one).ok());
    const at::Tensor patched = patch(expected.name, view).to(at::kFloat).contiguous();
    at::set_num_threads(4);
    REQUIRE(read(stored, four).ok());
    CHECK(std::memcmp(one.data(), four.data(), one.size() * sizeof(float)) == 0);
    CHECK(std::memcmp(one.data(), patched.const_data_ptr<float>(), one.size() * sizeof(float)) == 0);
    changed += at::equal(patched, view.to(at::kFloat)) ? 0 : 1;
  }
  CHECK(changed == static_cast<int64_t>(adapter.linears().size()));
}

TEST_CASE("an adapter whose training diverged is not folded in", "[merge]") {
  const ModelDirectory model = *ModelDirectory::Open(kCase);
  Adapter adapter = *ReadPeftAdapter(kCase + "/adapter", model.config());
  CHECK(CheckFinite(adapter).ok());
  adapter.values().data_ptr<float>()[adapter.Slots()[1].offset] = std::numeric_limits<float>::quiet_NaN();
  CHECK(CheckFinite(adapter).error().key == adapter.Slots()[1].name);
}

}  // namespace
}  // namespace lorry
