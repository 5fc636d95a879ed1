// lorry-batch as a worker runs it: whole jobs with a tiny model, killed with -9 at random moments.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <random>

#include "tests/batch/batch_job.h"

namespace lorry {
namespace {

constexpr int kRows = BatchJob::kRows;

const char* const kFiles[] = {"output.jsonl", "errors.jsonl", "report.json", "report.html"};

TEST_CASE_METHOD(BatchJob, "a batch killed at random moments gives the bytes of one that was not", "[task]") {
  const bool undisturbed = Attempt("whole", 1);
  INFO(Lines("whole", 1));
  REQUIRE(undisturbed);
  CHECK(RowsIn("whole", 1) == kRows);
  const auto lines_of = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
  CHECK(lines_of(Output("whole", 1, "output.jsonl")) == kRows - 3);
  CHECK(lines_of(Output("whole", 1, "errors.jsonl")) == 3);
  CHECK(Output("whole", 1, "errors.jsonl").find("context_length_exceeded") != std::string::npos);

  REQUIRE(Attempt("other-lanes", 1, 0, 1));
  for (const char* file : kFiles) CHECK(Output("other-lanes", 1, file) == Output("whole", 1, file));

  const auto seed = static_cast<unsigned>(std::chrono::steady_clock::now().time_since_epoch().count());
  WARN("seed " << seed);
  std::mt19937 random(seed);
  const int64_t whole_bytes = ShardBytes("whole", 1);
  int interrupted = 0;
  for (int run = 0; run < 3; ++run) {
    const std::string name = "killed-" + std::to_string(run);
    int attempt = 0;
    bool finished = false;
    for (int kills = 0; kills < 3 && !finished; ++kills) {
      const int64_t moment = std::uniform_int_distribution<int64_t>(1, whole_bytes / 3)(random);
      finished = Attempt(name, ++attempt, moment);
      interrupted += !finished && RowsIn(name, attempt) > 0;
    }
    if (!finished) REQUIRE(Attempt(name, ++attempt));
    int64_t computed = 0;
    for (int a = 1; a <= attempt; ++a) computed += RowsIn(name, a);
    CHECK(computed == kRows);  // what an attempt had written is never computed again
    for (const char* file : kFiles) CHECK(Output(name, attempt, file) == Output("whole", 1, file));
  }
  CHECK(interrupted >= 3);
}

TEST_CASE_METHOD(BatchJob, "rows computed in another arithmetic are not joined by ours", "[task]") {
  REQUIRE_FALSE(Attempt("moved", 1, ShardBytes("moved", 1) + 400));
  const std::string path = RunDir("moved") + "/arithmetic.json";
  nlohmann::json first = nlohmann::json::parse(*ReadFile(path));
  CHECK(first["arithmetic"].get<std::string>().starts_with("cpu: "));
  first["arithmetic"] = "cpu: another";
  REQUIRE(WriteFileAtomically(path, first.dump()).ok());
  CHECK(Start("moved", 2, 2).Wait()->exit_status == static_cast<int>(TaskExit::kSpecError));
  CHECK(Lines("moved", 2).find("rows of this run were computed with") != std::string::npos);
  CHECK(Lines("moved", 2).find("retry.other_device") != std::string::npos);
}

TEST_CASE_METHOD(BatchJob, "a task whose model is not there says so", "[task]") {
  REQUIRE(RemoveTree(RunDir("model")).ok());
  CHECK(Start("none", 1, 1).Wait()->exit_status == static_cast<int>(TaskExit::kSpecError));
  CHECK(Lines("none", 1).find("\"t\":\"error\"") != std::string::npos);
}

}  // namespace
}  // namespace lorry
