// AdamW, clipping and learning rates against torch and transformers (tests/golden/make_training.py).
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <fstream>
#include <map>

#include "trainers/adamw.h"
#include "trainers/learning_rate.h"

namespace lorry::trainers {
namespace {

nlohmann::json Golden() {
  std::ifstream file("tests/golden/training/optimizer.json");
  return nlohmann::json::parse(file);
}

at::Tensor Vector(const nlohmann::json& values) {
  at::Tensor vector = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  for (size_t i = 0; i < values.size(); ++i) vector.data_ptr<float>()[i] = values[i].get<float>();
  return vector;
}

// Torch adds in another order inside its vector operations: two units in the last place.
void CheckClose(const at::Tensor& mine, const nlohmann::json& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(mine.data_ptr<float>()[i] == Approx(expected[i].get<float>()).epsilon(2.5e-7).margin(1e-9));
  }
}

TEST_CASE("AdamW with weight decay and clipping takes torch's steps") {
  const nlohmann::json golden = Golden();
  at::Tensor values = Vector(golden["start"]);
  AdamW optimizer({.weight_decay = golden["weight_decay"]}, values.numel(), at::kCPU);
  for (const nlohmann::json& step : golden["steps"]) {
    at::Tensor gradient = Vector(step["gradient"]);
    CHECK(ClipByNorm(gradient, 1.0) == Approx(step["norm"].get<double>()).epsilon(1e-6));
    CheckClose(gradient, step["clipped"]);
    optimizer.Update(values, gradient, golden["lr"]);
    CheckClose(values, step["values"]);
  }
}

TEST_CASE("a group's factor scales its learning rate alone") {
  at::Tensor values = at::zeros({4}), gradient = at::ones({4});
  const RateGroup groups[] = {{0, 2, 1.0}, {2, 4, 16.0}};
  AdamW optimizer({}, 4, at::kCPU);
  optimizer.Update(values, gradient, 1e-3, groups);
  CHECK(values.data_ptr<float>()[0] == Approx(-1e-3));
  CHECK(values.data_ptr<float>()[3] == Approx(-16e-3));
}

TEST_CASE("learning rates are those of transformers' schedules") {
  const nlohmann::json golden = Golden();
  const std::map<std::string, ScheduleKind> kinds = {
      {"linear", ScheduleKind::kLinear}, {"cosine", ScheduleKind::kCosine}, {"constant", ScheduleKind::kConstant}};
  for (const auto& [name, kind] : kinds) {
    const LearningRateSchedule schedule{kind, golden["peak"], golden["warmup"], golden["total"]};
    for (int64_t step = 0; step < schedule.total_steps; ++step) {
      CHECK(schedule.AtStep(step) == Approx(golden["rates"][name][step].get<double>()).epsilon(1e-12).margin(1e-18));
    }
  }
  CHECK(WarmupSteps(0.03, 60) == 2);
  CHECK(WarmupSteps(0.0, 60) == 0);
}

}  // namespace
}  // namespace lorry::trainers
