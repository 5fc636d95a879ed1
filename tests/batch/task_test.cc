// lorry-batch as a worker runs it: whole jobs with a tiny model, killed with -9 at random moments.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <sstream>

#include "tests/batch/batch_job.h"
#include "tests/batch/faulty_rows.h"

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

// A job of rows that bring their own requests.
const nlohmann::json kRequests = {{"prompt", nullptr}, {"model", "acme/tiny"}, {"evaluate", nullptr}};

TEST_CASE_METHOD(BatchJob, "each faulty row ends in errors.jsonl with its code", "[task]") {
  const std::vector<RowCase> rows = FaultyRows();
  WriteInput(TextOf(rows));
  job_changes = kRequests;
  const bool done = Attempt("faults", 1);
  INFO(Lines("faults", 1));
  REQUIRE(done);
  std::string expected, found;
  for (const RowCase& row : rows) expected += *row.code != 0 ? std::string(row.code) + "\n" : "";
  std::istringstream errors(Output("faults", 1, "errors.jsonl"));
  for (std::string line; std::getline(errors, line);) {
    const nlohmann::json error = nlohmann::json::parse(line);
    found += (error.contains("response") ? error["response"]["body"] : error)["error"]["code"].get<std::string>() + "\n";
  }
  CHECK(found == expected);
}

TEST_CASE_METHOD(BatchJob, "a row's fault ends a strict job, with the row's place", "[task]") {
  const std::vector<RowCase> rows = FaultyRows();
  job_changes = kRequests;
  job_changes["validation"] = "strict";
  int runs = 0;
  for (const RowCase& row : rows) {
    if (*row.code == 0) continue;
    CAPTURE(row.text);
    // A row whose id stands in another one needs that one before it.
    WriteInput(rows[1].text + "\n" + row.text + "\n");
    const std::string run = "strict-" + std::to_string(++runs);
    CHECK(Start(run, 1, 1).Wait()->exit_status == static_cast<int>(TaskExit::kDataError));
    const std::string lines = Lines(run, 1);
    CHECK(lines.find("\"reason\":\"data_error\"") != std::string::npos);
    CHECK(lines.find("input.jsonl\"") != std::string::npos);
    CHECK(lines.find("\"line\":2,") != std::string::npos);
    CHECK_FALSE(FileExists(AttemptDir(run, 1) + "/output/output.jsonl"));
  }
  WriteInput(rows[0].text + "\n" + rows[1].text + "\n");
  CHECK(Attempt("sound", 1));
  nlohmann::json shards = nlohmann::json::parse(R"([{"shard": "", "rows": [[1, "error", 0, 0, "its SHA-256"]]}])");
  shards[0]["rows"][0][4] = std::string(64, '0');
  CHECK(Start("given-up", 1, 1, "", shards).Wait()->exit_status == static_cast<int>(TaskExit::kDataError));
}

TEST_CASE_METHOD(BatchJob, "a task whose model is not there says so", "[task]") {
  REQUIRE(RemoveTree(RunDir("model")).ok());
  CHECK(Start("none", 1, 1).Wait()->exit_status == static_cast<int>(TaskExit::kSpecError));
  CHECK(Lines("none", 1).find("\"t\":\"error\"") != std::string::npos);
}

}  // namespace
}  // namespace lorry
