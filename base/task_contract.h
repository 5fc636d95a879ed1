// What the worker and a rank agree on: the task file, the lines on the task's socket, the exit codes. Page:
// docs/formats/task-contract.md.
//
// The worker writes task.json into the attempt's folder and starts the rank's program with `--task PATH`; the rank connects to
// the Unix socket named there and both sides send JSON objects, one a line. End of file on that socket means that the worker is
// gone: the rank ends at once. With no socket named, the rank prints the same lines to standard output (a task run by hand).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"

namespace lorry {

constexpr int kTaskSchema = 1;

// How a rank's process ends when it ends by itself.
enum class TaskExit : int {
  kDone = 0,
  kStopped = 3,  // after a checkpoint, as it was asked to
  kOutOfMemory = 12,
  kSpecError = 64,
  kDataError = 65,
  kInternal = 70,
  kStorage = 74,
};
// The exit code for an error, and the end reason's name ("data_error", ...) that goes into the error line.
TaskExit TaskExitOf(ErrorCode code);
const char* EndReasonOf(TaskExit exit);

// task.json. Paths are absolute but for `resume_from`, which is relative to run_dir.
struct TaskFile {
  RunId run;
  AttemptNumber attempt;
  Epoch epoch;
  std::string kind;    // finetune | batch | ...
  nlohmann::json job;  // the job as resolved, with the keys of its YAML
  std::string attempt_dir;
  std::string run_dir;
  std::string cache_dir;
  std::string socket;  // empty: none
  int ranks = 1;
  int lanes = 1;  // of the whole job
  int threads_per_lane = 1;
  std::map<std::string, std::string> inputs;  // base_model, adapter, train, validation, input -> path
  Instant model_created;                      // of the version that answers: adapter, else model; 0: it came as a directory
  std::string resume_from;                    // empty: from the start
  nlohmann::json shards;                      // batch: what earlier attempts wrote and lorryd committed

  nlohmann::json ToJson() const;
  // Errors: kData for another schema, a missing key or a wrong type.
  static Result<TaskFile> FromJson(const nlohmann::json& json);
  static Result<TaskFile> Read(const std::string& path);
  Status Write(const std::string& path) const;
};

// A rank's end of the task's socket. One thread reads; sends are safe from any thread.
class TaskChannel {
 public:
  // Connects and sends the hello line. An empty socket name gives a channel that prints to standard output and never receives.
  // Errors: kUnreachable.
  static Result<TaskChannel> Connect(const std::string& socket, int rank);
  TaskChannel(TaskChannel&& other) noexcept;
  TaskChannel& operator=(TaskChannel&&) = delete;
  ~TaskChannel();

  // A failed send is not reported here: the reader sees the end of file.
  void Send(const nlohmann::json& line);
  // The next line; nullopt at the end of file, after which the rank must end. Blocks; without a socket it blocks for ever, so ask
  // interactive() first.
  std::optional<nlohmann::json> Receive();
  bool interactive() const { return fd_ >= 0; }

 private:
  struct State;
  explicit TaskChannel(int fd);
  int fd_;
  std::unique_ptr<State> state_;
};

// The rank's number under mpirun (OMPI_COMM_WORLD_RANK); 0 where there is none.
int RankFromEnvironment();

}  // namespace lorry
