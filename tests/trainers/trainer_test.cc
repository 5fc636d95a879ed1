// The loop with a stand-in model: what it promises about bytes, stops and bad numbers, without a decoder.
#include "trainers/training_loop.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "base/files.h"
#include "base/random.h"
#include "tests/trainers/rank_threads.h"

namespace lorry::trainers {
namespace {

constexpr int64_t kValues = 23;

// Each target pulls the value that its predecessor names towards a number of its own.
class StandIn : public TrainedModel {
 public:
  explicit StandIn(int64_t fail_after = std::numeric_limits<int64_t>::max()) : fail_after_(fail_after) {
    Random random(3, "test.values");
    for (int64_t i = 0; i < kValues; ++i) values_.data_ptr<float>()[i] = static_cast<float>(random.Uniform01());
  }
  at::Tensor& values() override { return values_; }
  void ValuesChanged() override {}
  Result<LossSum> ForwardBackward(const PackedBatch& batch, at::Tensor gradient, const DropoutKey&) const override {
    if (++calls_ > fail_after_) return MakeError(ErrorCode::kInternal, "interrupted");
    gradient.zero_();
    return Sum(batch, gradient.data_ptr<float>());
  }
  Result<LossSum> EvalLoss(const PackedBatch& batch) const override { return Sum(batch, nullptr); }
  std::vector<RateGroup> RateGroups(double b_factor) const override { return {{0, 9, 1.0}, {9, kValues, b_factor}}; }
  Status WriteAdapter(const std::string&) const override { return OkStatus(); }
  std::string Bytes() const { return {reinterpret_cast<const char*>(values_.const_data_ptr<float>()), kValues * sizeof(float)}; }
  bool not_a_number = false;

 private:
  LossSum Sum(const PackedBatch& batch, float* gradient) const {
    LossSum sum;
    for (const int32_t t : batch.PredictingPositions()) {
      const int64_t k = batch.ids[t] % kValues;
      const float error = values_.const_data_ptr<float>()[k] - std::sin(static_cast<float>(batch.ids[t + 1]));
      sum.loss += 0.5 * error * error;
      ++sum.target_tokens;
      if (gradient != nullptr) gradient[k] += error;
    }
    if (not_a_number) sum.loss = std::nan("");
    return sum;
  }
  at::Tensor values_ = at::zeros({kValues});
  const int64_t fail_after_;
  mutable std::atomic<int64_t> calls_ = 0;
};

Dataset RandomData(int64_t rows, uint64_t seed) {
  Random random(seed, "test.data");
  Dataset data;
  data.file = "data.jsonl";
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<int32_t> ids(3 + random.Below(20));
    for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(1000));
    std::vector<uint8_t> loss(ids.size(), 1);
    loss[0] = 0;
    data.AppendRow(row + 1, ids, loss);
  }
  return data;
}

TrainingOptions Options() {
  TrainingOptions options;
  options.batches = {.tokens_per_step = 60, .tokens_per_micro_batch = 16, .seed = 9};
  options.epochs = 3;
  options.learning_rate = 0.05;
  options.warmup_ratio = 0.1;
  options.eval_every_steps = 4;
  options.checkpoint_every_steps = 5;
  return options;
}

struct Outcome {
  Status status;
  TrainingEnd end = TrainingEnd::kFinished;
  std::string values;
  int64_t steps = 0;
  double best = 0;
};

struct Setting {
  int ranks = 1;
  int lanes = 1;
  int64_t fail_after = std::numeric_limits<int64_t>::max();
  TrainingOptions options = Options();
  bool not_a_number = false;
};

// One attempt of a run in `home`, going on from what is there. What rank 0 saw.
Outcome Attempt(const std::string& home, const Setting& setting) {
  const Dataset training = RandomData(60, 1), validation = RandomData(11, 2);
  Outcome outcome;
  RankThreads ranks(setting.ranks);
  ranks.Run([&](RankGroup& group) {
    StandIn model(setting.fail_after);
    model.not_a_number = setting.not_a_number;
    Lanes lanes(setting.lanes, 1);
    const HeldOut held_out(validation, 16);
    Progress progress(std::move(*TaskChannel::Connect("", group.rank())), group.rank());
    Trainer trainer({model, group, lanes, progress, training, &held_out, home, RunIdentity{.job = "j"}, setting.options});
    TrainingLoop loop({&trainer}, group, progress, home);
    (void)loop.Resume("");
    const Result<TrainingEnd> end = loop.Run();
    if (group.rank() != 0) return;
    outcome.values = model.Bytes();
    outcome.steps = trainer.steps_done();
    outcome.best = trainer.best().loss;
    if (end.ok()) {
      outcome.end = *end;
    } else {
      outcome.status = end.error();
    }
  });
  return outcome;
}

std::string Trace(const TempDirectory& home) { return *ReadFile(home.path() + "/trace.h5"); }

TEST_CASE("one rank with two lanes and two ranks with one give the same bytes, and so do others") {
  TempDirectory undisturbed;
  const Outcome expected = Attempt(undisturbed.path(), {});
  REQUIRE(expected.status.ok());
  CHECK(expected.steps > 20);
  struct Case {
    int ranks, lanes;
  };
  for (const Case& c : std::initializer_list<Case>{{1, 2}, {2, 1}, {2, 3}, {3, 1}, {5, 2}}) {
    INFO(c.ranks << " ranks of " << c.lanes << " lanes");
    TempDirectory home;
    const Outcome outcome = Attempt(home.path(), {.ranks = c.ranks, .lanes = c.lanes});
    REQUIRE(outcome.status.ok());
    CHECK(outcome.values == expected.values);
    CHECK(Trace(home) == Trace(undisturbed));
  }
}

TEST_CASE("a run that is cut anywhere and goes on gives the bytes and the trace of the undisturbed one") {
  TempDirectory undisturbed;
  const Outcome expected = Attempt(undisturbed.path(), {.lanes = 2});
  const uint64_t seed = 77;
  INFO("seed " << seed);
  Random random(seed, "test.cuts");
  int64_t cuts = 0;
  for (int round = 0; round < 5; ++round) {
    TempDirectory home;
    Outcome outcome;
    for (int attempt = 0; attempt < 12; ++attempt) {
      const int64_t fail_after = attempt < 11 ? static_cast<int64_t>(10 + random.Below(40)) : std::numeric_limits<int64_t>::max();
      outcome = Attempt(home.path(), {.lanes = 1 + attempt % 3, .fail_after = fail_after});
      if (outcome.status.ok()) break;
      ++cuts;
    }
    REQUIRE(outcome.status.ok());
    CHECK(outcome.values == expected.values);
    CHECK(Trace(home) == Trace(undisturbed));
  }
  CHECK(cuts > 5);
}

TEST_CASE("a loss that is not a number ends the run, names the rows and keeps the last checkpoint") {
  TempDirectory home;
  TrainingOptions short_run = Options();
  short_run.epochs.reset();
  short_run.max_steps = 5;
  REQUIRE(Attempt(home.path(), {.options = short_run}).status.ok());
  TrainingOptions longer = short_run;
  longer.max_steps = 10;
  const Outcome outcome = Attempt(home.path(), {.options = longer, .not_a_number = true});
  REQUIRE_FALSE(outcome.status.ok());
  CHECK(outcome.status.error().code == ErrorCode::kData);
  CHECK_THAT(outcome.status.error().message, Catch::Contains("step 6") && Catch::Contains("lines"));
  CHECK(CheckpointStore(home.path()).Steps()->front() == 5);
}

TEST_CASE("early stopping ends after the evaluations it waits for, and keep_best gives the best values out") {
  TempDirectory home;
  Setting setting;
  setting.options.learning_rate = 1.0;  // overshoots: the held-out loss soon grows
  setting.options.epochs = 20;
  setting.options.schedule = ScheduleKind::kConstant;
  setting.options.eval_every_steps = 2;
  setting.options.patience = 3;
  setting.options.keep_best = true;
  const Outcome outcome = Attempt(home.path(), setting);
  REQUIRE(outcome.status.ok());
  CHECK(outcome.steps < 200);
  const auto steps = CheckpointStore(home.path()).Steps().value();
  const int64_t best = steps.back();  // the oldest that is kept
  const auto states = DecodeStates(*CheckpointStore(home.path()).Read(best), "best");
  REQUIRE(states.ok());
  const TrainingState& state = states->front().state;
  CHECK(state.best.step == best);
  CHECK(std::string(reinterpret_cast<const char*>(state.values.data()), kValues * sizeof(float)) == outcome.values);
  // Entered again after its end, the run adds no step.
  CHECK(Attempt(home.path(), setting).steps == outcome.steps);
}

TEST_CASE("the newest checkpoints are kept, as many as the job says") {
  TempDirectory home;
  Setting setting;
  setting.options.keep_last = 2;
  REQUIRE(Attempt(home.path(), setting).status.ok());
  CHECK(CheckpointStore(home.path()).Steps()->size() == 2);
}

}  // namespace
}  // namespace lorry::trainers
