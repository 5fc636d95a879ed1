// A rank that speaks the task contract and misbehaves on request: what worker tests start in the place of lorry-train and
// lorry-batch. The job's label `fake` says what it does, as words KEY:VALUE separated by blanks:
//
//   steps:10 ms:20        so many steps of so long (a step also is the time that a batch row takes)
//   every:3               a checkpoint every so many steps
//   at:4 do:segv          in step (or row) 4 of the first attempt: segv abort kill hang exit7 oom storage data garbage close
//   rank:1                only this rank misbehaves (0)
//   deaf:1                does not hear the wish to stop
//   until:go              after the last step it stays until its run's folder holds that file
//
// A finetune writes adapter/adapter.txt, which holds one line for each step that it or an earlier attempt's checkpoint made; a
// batch writes a shard and, once there are no more rows, output.jsonl in the order of the rows: the same bytes however often it
// was interrupted.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "base/files.h"
#include "base/hash.h"
#include "base/task_contract.h"

namespace {

using lorry::TaskExit;
using nlohmann::json;

struct Script {
  int steps = 5;
  int millis = 5;
  int every = 0;
  int at = -1;
  int rank = 0;
  bool deaf = false;
  std::string deed;
  std::string until;

  static Script Of(const json& job) {
    Script script;
    std::istringstream words(job.value("labels", json::object()).value("fake", ""));
    for (std::string word; words >> word;) {
      const std::string key = word.substr(0, word.find(':'));
      const std::string value = word.substr(word.find(':') + 1);
      if (key == "do") script.deed = value;
      if (key == "until") script.until = value;
      if (key == "steps") script.steps = std::stoi(value);
      if (key == "ms") script.millis = std::stoi(value);
      if (key == "every") script.every = std::stoi(value);
      if (key == "at") script.at = std::stoi(value);
      if (key == "rank") script.rank = std::stoi(value);
      if (key == "deaf") script.deaf = true;
    }
    return script;
  }
};

// What the worker said, for the main thread to look at between steps. The end of the connection ends the process.
class Heard {
 public:
  void Listen(lorry::TaskChannel* channel) {
    thread_ = std::thread([this, channel] {
      while (const std::optional<json> line = channel->Receive()) Take(*line);
      std::_Exit(1);
    });
    thread_.detach();
  }
  bool stop() { return stop_; }
  // Waits for rows; empty where there are no more, or a stop came.
  std::deque<uint64_t> WaitForRows() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stop_ || no_more_ || !rows_.empty(); });
    return std::exchange(rows_, {});
  }
  bool no_more() {
    const std::lock_guard lock(mutex_);
    return no_more_;
  }

 private:
  void Take(const json& line) {
    const std::lock_guard lock(mutex_);
    const std::string t = line.value("t", "");
    if (t == "stop") stop_ = true;
    if (t == "no_more_rows") no_more_ = true;
    if (t == "rows") {
      for (const json& range : line["ranges"]) {
        for (uint64_t i = 0; i < range[1]; ++i) rows_.push_back(range[0].get<uint64_t>() + i);
      }
    }
    changed_.notify_all();
  }

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stop_ = false;
  bool no_more_ = false;
  std::deque<uint64_t> rows_;
};

class FakeRank {
 public:
  FakeRank(lorry::TaskFile task, lorry::TaskChannel* channel, int rank)
      : task_(std::move(task)), script_(Script::Of(task_.job)), channel_(channel), rank_(rank) {
    heard_.Listen(channel_);
  }

  TaskExit Train() {
    int first = 0;
    std::string lines;
    if (!task_.resume_from.empty()) {
      lines = *lorry::ReadFile(task_.run_dir + "/" + task_.resume_from + "/state");
      first = static_cast<int>(std::count(lines.begin(), lines.end(), '\n'));
    }
    Phase("productive");
    for (int step = first; step < script_.steps; ++step) {
      Misbehave(step);
      std::this_thread::sleep_for(std::chrono::milliseconds(script_.millis));
      lines += "step " + std::to_string(step) + "\n";
      if (rank_ == 0) channel_->Send({{"t", "step"}, {"step", step + 1}, {"steps", script_.steps}, {"loss", 1.0 / (step + 1)}});
      const bool stop = heard_.stop() && !script_.deaf;
      if (rank_ == 0 && (stop || (script_.every > 0 && (step + 1) % script_.every == 0))) Checkpoint(step + 1, lines);
      if (stop) return TaskExit::kStopped;
    }
    while (!script_.until.empty() && !lorry::FileExists(task_.run_dir + "/" + script_.until)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (rank_ != 0) return TaskExit::kDone;
    (void)lorry::MakeDirectories(task_.attempt_dir + "/adapter/more").ok();
    (void)lorry::WriteFileAtomically(task_.attempt_dir + "/adapter/adapter.txt", lines).ok();
    (void)lorry::WriteFileAtomically(task_.attempt_dir + "/adapter/more/base.txt", BaseText()).ok();
    channel_->Send({{"t", "output"}, {"name", "adapter"}, {"path", "adapter"}});
    channel_->Send({{"t", "facts"}, {"facts", {{"program", "fake_rank"}}}});
    channel_->Send({{"t", "done"}});
    return TaskExit::kDone;
  }

  TaskExit Infer() {
    TakeEarlierRows();
    Phase("productive");
    const std::string shard = "attempts/" + std::to_string(task_.attempt.value()) + "/rows-" + std::to_string(rank_) + ".jsonl";
    std::ofstream out(task_.run_dir + "/" + shard, std::ios::binary);
    uint64_t offset = 0;
    int computed = 0;
    while (!heard_.no_more()) {
      channel_->Send({{"t", "rows_wanted"}, {"count", 4}, {"total", script_.steps}});
      for (const uint64_t row : heard_.WaitForRows()) {
        Misbehave(computed++);
        std::this_thread::sleep_for(std::chrono::milliseconds(script_.millis));
        const std::string bytes = "{\"row\":" + std::to_string(row) + "}\n";
        out << bytes << std::flush;
        channel_->Send({{"t", "row"},
                        {"index", row},
                        {"epoch", task_.epoch.value()},
                        {"state", "ok"},
                        {"shard", shard},
                        {"offset", offset},
                        {"length", bytes.size()},
                        {"sha256", lorry::Sha256Of(bytes).hex()},
                        {"prompt_tokens", 1},
                        {"completion_tokens", 2},
                        {"millis", script_.millis}});
        offset += bytes.size();
        rows_[row] = bytes;
        channel_->Send({{"t", "progress"}, {"done", computed}, {"total", script_.steps}, {"rows_per_minute", 60.0 * computed}});
      }
      if (heard_.stop() && !script_.deaf) return TaskExit::kStopped;
    }
    if (rank_ != 0) return TaskExit::kDone;
    std::string all;
    for (const auto& [row, bytes] : rows_) all += bytes;
    (void)lorry::WriteFileAtomically(task_.attempt_dir + "/output.jsonl", all).ok();
    channel_->Send({{"t", "output"}, {"name", "output"}, {"path", task_.attempt_dir + "/output.jsonl"}});
    channel_->Send({{"t", "done"}});
    return TaskExit::kDone;
  }

 private:
  void Phase(const char* phase) { channel_->Send({{"t", "phase"}, {"phase", phase}}); }

  std::string BaseText() {
    const auto base = task_.inputs.find("base_model");
    if (base == task_.inputs.end()) return "";
    const auto text = lorry::ReadFile(base->second + "/config.json");
    return text.ok() ? *text : text.error().message;
  }

  void Checkpoint(int step, const std::string& lines) {
    Phase("checkpoint");
    const std::string path = "checkpoints/step-" + std::to_string(step);
    (void)lorry::MakeDirectories(task_.run_dir + "/" + path).ok();
    (void)lorry::WriteFileAtomically(task_.run_dir + "/" + path + "/state", lines).ok();
    channel_->Send({{"t", "checkpoint"}, {"step", step}, {"path", path}, {"digest", lorry::Sha256Of(lines).hex()}});
    Phase("productive");
  }

  void TakeEarlierRows() {
    for (const json& shard : task_.shards) {
      const std::string text = *lorry::ReadFile(task_.run_dir + "/" + shard["shard"].get<std::string>());
      for (const json& row : shard["rows"]) rows_[row[0]] = text.substr(row[2], row[3]);
    }
  }

  void Misbehave(int step) {
    if (step != script_.at || rank_ != script_.rank || task_.attempt.value() != 1) return;
    const std::string& deed = script_.deed;
    if (deed == "segv") ::signal(SIGSEGV, SIG_DFL), ::raise(SIGSEGV);  // a sanitizer's handler would make an exit status of it
    if (deed == "abort") std::abort();
    if (deed == "kill") ::raise(SIGKILL);
    if (deed == "hang") ::pause();
    if (deed == "exit7") std::_Exit(7);
    if (deed == "garbage") channel_->Send(json("not an object"));
    if (deed == "close") ::close(3), ::close(4), ::close(5);
    if (deed == "oom") Fault("out_of_memory", "cannot hold 7 GB", TaskExit::kOutOfMemory);
    if (deed == "storage") std::_Exit(static_cast<int>(TaskExit::kStorage));
    if (deed == "data") Fault("data_error", "a row without text", TaskExit::kDataError);
  }

  [[noreturn]] void Fault(const char* reason, const char* message, TaskExit exit) {
    channel_->Send(
        {{"t", "error"}, {"reason", reason}, {"message", message}, {"file", "train.jsonl"}, {"line", 12}, {"key", "text"}});
    std::_Exit(static_cast<int>(exit));
  }

  lorry::TaskFile task_;
  Script script_;
  lorry::TaskChannel* channel_;
  int rank_;
  Heard heard_;
  std::map<uint64_t, std::string> rows_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::strcmp(argv[1], "--task") != 0) {
    std::fprintf(stderr, "usage: fake_rank --task task.json\n");
    return 2;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto task = lorry::TaskFile::Read(argv[2]);
  if (!task.ok()) {
    std::fprintf(stderr, "%s\n", task.error().Format().c_str());
    return static_cast<int>(TaskExit::kSpecError);
  }
  const int rank = lorry::RankFromEnvironment();
  std::fprintf(stderr, "fake rank %d of %d\n", rank, task->ranks);
  auto channel = lorry::TaskChannel::Connect(task->socket, rank);
  if (!channel.ok()) return 1;
  const std::string kind = task->kind;
  FakeRank fake(std::move(*task), &*channel, rank);
  std::_Exit(static_cast<int>(kind == "batch" ? fake.Infer() : fake.Train()));
}
