// A small batch job and its attempts, run as a worker would: a tiny model, rows in several forms, some of them faulty.
#pragma once

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/files.h"
#include "base/process.h"
#include "base/task_contract.h"
#include "batch/shard_index.h"
#include "tests/batch/tiny_model.h"

namespace lorry {

// A batch of rows in several forms, some of them faulty, and the folders of its runs.
class BatchJob {
 public:
  static constexpr int kRows = 120;

  BatchJob() {
    WriteTinyModel(dir_.path() + "/model");
    std::string input;
    for (int i = 0; i < kRows; ++i) {
      const std::string text(static_cast<size_t>(1 + i * 7 % 90), static_cast<char>('a' + i % 26));
      nlohmann::json row = {{"id", "row-" + std::to_string(i)}, {"text", text}, {"ref", "a b c"}};
      if (i == 50) row["text"] = std::string(400, 'x');  // longer than the context
      if (i == 60) row.erase("text");
      input += (i == 70 ? std::string("{broken") : row.dump()) + "\n";
    }
    REQUIRE(WriteFileAtomically(dir_.path() + "/input.jsonl", input).ok());
  }

  // For a run's task from now on: keys of the job (null: without it), and another input.
  nlohmann::json job_changes = nlohmann::json::object();
  void WriteInput(const std::string& text) { REQUIRE(WriteFileAtomically(dir_.path() + "/input.jsonl", text).ok()); }

  std::string RunDir(const std::string& run) const { return dir_.path() + "/" + run; }
  std::string AttemptDir(const std::string& run, int attempt) const {
    return RunDir(run) + "/attempts/" + std::to_string(attempt);
  }

  // Writes the attempt's task.json and starts the program on it.
  ChildProcess Start(const std::string& run, int attempt, int lanes, const std::string& socket = "",
                     nlohmann::json shards = nlohmann::json::array()) {
    const std::string attempt_dir = AttemptDir(run, attempt);
    REQUIRE(MakeDirectories(attempt_dir).ok());
    TaskFile task;
    task.run = RunId(run);
    task.attempt = AttemptNumber(static_cast<uint64_t>(attempt));
    task.epoch = Epoch(static_cast<uint64_t>(attempt));
    task.kind = "batch";
    task.job = Job();
    task.attempt_dir = attempt_dir;
    task.run_dir = RunDir(run);
    task.cache_dir = dir_.path() + "/cache";
    task.socket = socket;
    task.lanes = lanes;
    task.inputs = {{"base_model", dir_.path() + "/model"}, {"input", dir_.path() + "/input.jsonl"}};
    task.shards = std::move(shards);
    REQUIRE(task.Write(attempt_dir + "/task.json").ok());
    const char* bin = std::getenv("LORRY_BIN");
    SpawnOptions spawn;
    spawn.argv = {std::string(bin != nullptr ? bin : "build/bin") + "/lorry-batch", "--task", attempt_dir + "/task.json"};
    spawn.stdout_path = spawn.stderr_path = attempt_dir + "/lines";
    auto child = ChildProcess::Start(spawn);
    REQUIRE(child.ok());
    return std::move(child).value();
  }

  // Runs one attempt; kills it once its shard has `kill_at` bytes, where that is not zero. True if it ended by itself with
  // status 0.
  bool Attempt(const std::string& run, int attempt, int64_t kill_at = 0, int lanes = 2) {
    ChildProcess child = Start(run, attempt, lanes);
    if (kill_at > 0) {
      while (!child.Wait(Millis(1)) && ShardBytes(run, attempt) < kill_at) {
      }
      child.Signal(SIGKILL);
    }
    const auto end = child.Wait();
    return end && end->signal == 0 && end->exit_status == 0;
  }

  std::string Output(const std::string& run, int attempt, const std::string& file) const {
    return *ReadFile(AttemptDir(run, attempt) + "/output/" + file);
  }
  int64_t RowsIn(const std::string& run, int attempt) const {
    int64_t rows = 0;
    const std::string shard = AttemptDir(run, attempt) + "/" + ShardFileName(0);
    if (!FileExists(shard)) return 0;
    REQUIRE(ScanShard(shard, [&rows](const ShardRow&, const RowPlace&) {
              ++rows;
              return OkStatus();
            }).ok());
    return rows;
  }
  int64_t ShardBytes(const std::string& run, int attempt) const {
    const auto size = FileSize(AttemptDir(run, attempt) + "/" + ShardFileName(0));
    return size.ok() ? size->count() : 0;
  }
  std::string Lines(const std::string& run, int attempt) const { return *ReadFile(AttemptDir(run, attempt) + "/lines"); }

 private:
  nlohmann::json Job() const {
    nlohmann::json job = {
        {"kind", "batch"},
        {"name", "tiny"},
        {"project", "tests"},
        {"model", dir_.path() + "/model"},
        {"input", dir_.path() + "/input.jsonl"},
        {"prompt", "Say: {{ text }}"},
        {"output", dir_.path() + "/out"},
        {"resources", {{"cpus", 2}}},
        {"sampling", {{"max_tokens", 24}, {"temperature", 0.7}, {"top_p", 0.9}, {"seed", 5}, {"stop", nlohmann::json::array()}}},
        {"evaluate", {{"reference", "ref"}, {"metrics", {"rouge"}}}}};
    job.merge_patch(job_changes);
    return job;
  }
  TempDirectory dir_;
};

}  // namespace lorry
