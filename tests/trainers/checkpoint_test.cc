#include "trainers/checkpoint.h"

#include <catch2/catch.hpp>

#include <fstream>

#include "base/files.h"
#include "trainers/hdf5_image.h"
#include "trainers/step_log.h"
#include "trainers/token_cache.h"

namespace lorry::trainers {
namespace {

RunIdentity Identity() {
  return {.job = "{}",
          .base_model = "b",
          .training_data = "t",
          .validation_data = "",
          .initial_adapter = "",
          .device = "cpu: avx2",
          .threads_per_lane = 1,
          .libraries = "L 1",
          .build = "0.1"};
}

TrainingState StateAt(int64_t step) {
  TrainingState state;
  state.step = step;
  state.cursor = {1, 17};
  state.best = {10, 2.25, 1};
  state.optimizer_updates = step;
  for (int i = 0; i < 1000; ++i) {
    state.values.push_back(0.5f * static_cast<float>(i) + static_cast<float>(step));
    state.first_moment.push_back(-1.0f * static_cast<float>(i));
    state.second_moment.push_back(1e-9f * static_cast<float>(i));
  }
  return state;
}

void Overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

struct StoredRun {
  TempDirectory home;
  CheckpointStore store{home.path()};
  std::vector<std::string> said;

  Result<std::optional<ResumePoint>> Find(const std::string& wanted = "", bool other_device = false,
                                          RunIdentity identity = Identity()) {
    return FindResumePoint(store, wanted, {identity}, other_device, [&](const std::string& text) { said.push_back(text); });
  }
  std::string StateFile(int64_t step) const { return home.path() + "/" + CheckpointStore::RelativePath(step) + "/state.h5"; }
};

TEST_CASE("a checkpoint gives back what was written, and equal states give equal bytes") {
  StoredRun run;
  const auto written = run.store.Write({{StateAt(20), Identity()}});
  REQUIRE(written.ok());
  CHECK(written->path == "checkpoints/step-00000020");
  CHECK(*EncodeStates({{StateAt(20), Identity()}}) == *EncodeStates({{StateAt(20), Identity()}}));
  const auto found = run.Find();
  REQUIRE(found.ok());
  for (const std::string& line : run.said) UNSCOPED_INFO(line);
  REQUIRE(found->has_value());
  const TrainingState& state = (*found)->states[0].state;
  const TrainingState expected = StateAt(20);
  CHECK(state.step == 20);
  CHECK(state.cursor == expected.cursor);
  CHECK(state.best.loss == expected.best.loss);
  CHECK(state.best.worse_since == 1);
  CHECK(state.optimizer_updates == 20);
  CHECK(state.values == expected.values);
  CHECK(state.first_moment == expected.first_moment);
  CHECK(state.second_moment == expected.second_moment);
}

TEST_CASE("a damaged checkpoint is passed over and said; the one before it is used") {
  struct Case {
    const char* name;
    void (*damage)(const std::string& state_file);
  };
  const Case cases[] = {
      {"truncated", [](const std::string& path) { Overwrite(path, ReadFile(path)->substr(0, 3000)); }},
      {"one bit flipped",
       [](const std::string& path) {
         auto bytes = *ReadFile(path);
         bytes[5000] ^= 1;
         Overwrite(path, bytes);
       }},
      {"empty", [](const std::string& path) { Overwrite(path, ""); }},
      {"gone", [](const std::string& path) { REQUIRE(RemoveTree(path).ok()); }},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    StoredRun run;
    REQUIRE(run.store.Write({{StateAt(20), Identity()}}).ok());
    REQUIRE(run.store.Write({{StateAt(40), Identity()}}).ok());
    c.damage(run.StateFile(40));
    const auto found = run.Find();
    REQUIRE(found.ok());
    REQUIRE(found->has_value());
    CHECK((*found)->states[0].state.step == 20);
    REQUIRE(run.said.size() == 1);
    CHECK_THAT(run.said[0], Catch::Contains("step-00000040"));
  }
}

TEST_CASE("without its marker there is no checkpoint; what was left unfinished goes with the next pruning") {
  StoredRun run;
  REQUIRE(run.store.Write({{StateAt(20), Identity()}}).ok());
  REQUIRE(run.store.Write({{StateAt(40), Identity()}}).ok());
  REQUIRE(RemoveTree(run.home.path() + "/checkpoints/step-00000040/COMPLETE").ok());
  REQUIRE(MakeDirectories(run.home.path() + "/checkpoints/.writing-step-00000060").ok());
  CHECK(run.store.Steps().value() == std::vector<int64_t>{20});
  REQUIRE(run.store.Write({{StateAt(40), Identity()}}).ok());
  CHECK(run.store.Steps().value() == std::vector<int64_t>{40, 20});
  REQUIRE(run.store.RemoveAllBut({40}).ok());
  CHECK(ListDirectory(run.home.path() + "/checkpoints").value() == std::vector<std::string>{"step-00000040"});
}

TEST_CASE("a run goes on from the checkpoint that is wanted, not from a later one") {
  StoredRun run;
  for (const int64_t step : {20, 40, 60}) REQUIRE(run.store.Write({{StateAt(step), Identity()}}).ok());
  CHECK((*run.Find("checkpoints/step-00000040"))->states[0].state.step == 40);
  CHECK((*run.Find(""))->states[0].state.step == 60);
  CHECK_FALSE(run.Find("checkpoints/step-00000010")->has_value());
}

TEST_CASE("another job's checkpoint is refused, another device's unless the job allows it") {
  StoredRun run;
  REQUIRE(run.store.Write({{StateAt(20), Identity()}}).ok());
  struct Case {
    std::string RunIdentity::*field;
    bool with_other_device;
  };
  for (const Case& c : std::initializer_list<Case>{{&RunIdentity::job, false},
                                                   {&RunIdentity::base_model, false},
                                                   {&RunIdentity::training_data, false},
                                                   {&RunIdentity::initial_adapter, false},
                                                   {&RunIdentity::device, true},
                                                   {&RunIdentity::libraries, true}}) {
    RunIdentity other = Identity();
    other.*c.field = "another";
    const auto refused = run.Find("", false, other);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == ErrorCode::kSpec);
    CHECK(run.Find("", true, other).ok() == c.with_other_device);
  }
}

TEST_CASE("the step log survives a torn tail, and the trace holds each step once") {
  TempDirectory home;
  const std::string path = home.path() + "/steps.log";
  {
    StepLog log = std::move(*StepLog::Open(path));
    for (int64_t step = 1; step <= 3; ++step) {
      REQUIRE(
          log.Append(StepRecord{step, 2.0 / static_cast<double>(step), 1.5, 1e-4, 100, 10, Sha256Of(std::to_string(step))}).ok());
    }
    REQUIRE(log.Append(EvaluationRecord{3, 0.1 + 0.2, 55}).ok());
  }
  std::ofstream(path, std::ios::binary | std::ios::app) << "torn";
  StepLog log = std::move(*StepLog::Open(path));
  CHECK(log.last_known_step() == 3);
  REQUIRE(log.Find(2) != nullptr);
  CHECK(log.Find(2)->loss == 1.0);
  CHECK(log.Find(2)->adapter == Sha256Of("2"));
  CHECK(log.Find(4) == nullptr);
  REQUIRE(log.Append(*log.Find(3)).ok());  // done again after a resume
  REQUIRE(log.WriteTrace(home.path() + "/trace.h5", 3).ok());
  const std::string bytes = *ReadFile(home.path() + "/trace.h5");
  const auto trace = Hdf5Image::Open(bytes, "trace.h5");
  REQUIRE(trace.ok());
  CHECK((*trace)->Int64s("step").value() == std::vector<int64_t>{1, 2, 3});
  CHECK((*trace)->Doubles("evaluation/loss").value() == std::vector<double>{0.1 + 0.2});
  CHECK((*trace)->Bytes("adapter_sha256").value().size() == 96);
  CHECK((*trace)->Floats("step").error().code == ErrorCode::kData);
}

TEST_CASE("a token cache is read back, and made anew where it is damaged or of another key") {
  TempDirectory home;
  Dataset data;
  data.AppendRow(1, {5, 6, 7}, {0, 1, 1});
  data.AppendRow(3, {9}, {0});
  data.dropped = 2;
  const Digest key = Sha256Of("key");
  const std::string path = TokenCachePath(home.path(), key);
  REQUIRE(WriteTokenCache(path, key, data).ok());
  const auto read = ReadTokenCache(path, key);
  REQUIRE(read.has_value());
  CHECK(read->ids == data.ids);
  CHECK(read->loss == data.loss);
  CHECK(read->row_starts == data.row_starts);
  CHECK(read->lines == data.lines);
  CHECK(read->dropped == 2);
  CHECK_FALSE(ReadTokenCache(path, Sha256Of("another")).has_value());
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() / 2] ^= 4;
  Overwrite(path, bytes.substr(0, bytes.size() - 10));
  CHECK_FALSE(ReadTokenCache(path, key).has_value());
  CHECK_FALSE(ReadTokenCache(home.path() + "/none", key).has_value());
}

}  // namespace
}  // namespace lorry::trainers
