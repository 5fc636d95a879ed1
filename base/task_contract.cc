#include "base/task_contract.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/files.h"
#include "base/json.h"

namespace lorry {
namespace {

constexpr size_t kMaxLineBytes = size_t{64} << 20;

using nlohmann::json;

Error BadTask(const std::string& what) { return MakeError(ErrorCode::kData, "task file: " + what); }

}  // namespace

TaskExit TaskExitOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
    case ErrorCode::kSpec:
    case ErrorCode::kUnsupported:
    case ErrorCode::kNotFound:
      return TaskExit::kSpecError;
    case ErrorCode::kData:
      return TaskExit::kDataError;
    case ErrorCode::kStorage:
    case ErrorCode::kNotAllowed:
      return TaskExit::kStorage;
    case ErrorCode::kOutOfMemory:
      return TaskExit::kOutOfMemory;
    default:
      return TaskExit::kInternal;
  }
}

const char* EndReasonOf(TaskExit exit) {
  switch (exit) {
    case TaskExit::kDone:
      return "done";
    case TaskExit::kStopped:
      return "stopped";
    case TaskExit::kOutOfMemory:
      return "out_of_memory";
    case TaskExit::kSpecError:
      return "spec_error";
    case TaskExit::kDataError:
      return "data_error";
    case TaskExit::kInternal:
      return "internal";
    case TaskExit::kStorage:
      return "storage";
  }
  return "internal";
}

json TaskFile::ToJson() const {
  return {{"schema", kTaskSchema},
          {"run", run.str()},
          {"attempt", attempt.value()},
          {"epoch", epoch.value()},
          {"kind", kind},
          {"job", job},
          {"attempt_dir", attempt_dir},
          {"run_dir", run_dir},
          {"cache_dir", cache_dir},
          {"socket", socket},
          {"ranks", ranks},
          {"lanes", lanes},
          {"threads_per_lane", threads_per_lane},
          {"inputs", inputs},
          {"model_created_ms", model_created.millis()},
          {"resume_from", resume_from},
          {"shards", shards}};
}

Result<TaskFile> TaskFile::FromJson(const json& value) {
  if (!value.is_object() || !value.contains("schema")) return BadTask("no schema");
  if (value["schema"] != kTaskSchema) return BadTask("schema " + value["schema"].dump() + "; this program reads 1");
  TaskFile task;
  try {
    task.run = RunId(value.at("run").get<std::string>());
    task.attempt = AttemptNumber(value.at("attempt").get<uint64_t>());
    task.epoch = Epoch(value.at("epoch").get<uint64_t>());
    task.kind = value.at("kind").get<std::string>();
    task.job = value.at("job");
    task.attempt_dir = value.at("attempt_dir").get<std::string>();
    task.run_dir = value.at("run_dir").get<std::string>();
    task.cache_dir = value.at("cache_dir").get<std::string>();
    task.socket = value.value("socket", json()).is_string() ? value["socket"].get<std::string>() : "";
    task.ranks = value.at("ranks").get<int>();
    task.lanes = value.at("lanes").get<int>();
    task.threads_per_lane = value.at("threads_per_lane").get<int>();
    for (const auto& [name, path] : value.at("inputs").items()) {
      if (path.is_string()) task.inputs[name] = path.get<std::string>();
    }
    task.model_created = Instant(value.value("model_created_ms", int64_t{0}));
    task.resume_from = value.value("resume_from", json()).is_string() ? value["resume_from"].get<std::string>() : "";
    task.shards = value.value("shards", json::array());
  } catch (const json::exception& e) {
    return BadTask(e.what());
  }
  if (task.ranks < 1 || task.lanes < task.ranks || task.lanes % task.ranks != 0 || task.threads_per_lane < 1) {
    return BadTask("lanes must be a multiple of ranks, and all of them at least 1");
  }
  return task;
}

Result<TaskFile> TaskFile::Read(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  LORRY_ASSIGN_OR_RETURN(const json value, ParseJson(text));
  return FromJson(value);
}

Status TaskFile::Write(const std::string& path) const { return WriteFileAtomically(path, ToJson().dump(1) + "\n"); }

struct TaskChannel::State {
  std::mutex sending;
  std::string received;
  size_t line_begin = 0;
};

TaskChannel::TaskChannel(int fd) : fd_(fd), state_(std::make_unique<State>()) {}

TaskChannel::TaskChannel(TaskChannel&& other) noexcept : fd_(std::exchange(other.fd_, -1)), state_(std::move(other.state_)) {}

TaskChannel::~TaskChannel() {
  if (fd_ >= 0) ::close(fd_);
}

Result<TaskChannel> TaskChannel::Connect(const std::string& socket, int rank) {
  int fd = -1;
  if (!socket.empty()) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket.size() >= sizeof(address.sun_path)) return MakeError(ErrorCode::kUnreachable, "socket name too long: " + socket);
    std::memcpy(address.sun_path, socket.c_str(), socket.size() + 1);
    fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      Error error = ErrnoError("cannot reach the worker at", socket);
      error.code = ErrorCode::kUnreachable;
      if (fd >= 0) ::close(fd);
      return error;
    }
  }
  TaskChannel channel(fd);
  channel.Send({{"t", "hello"}, {"rank", rank}, {"pid", ::getpid()}, {"build", LORRY_VERSION}});
  return channel;
}

void TaskChannel::Send(const json& line) {
  const std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  const std::lock_guard lock(state_->sending);
  if (fd_ < 0) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    return;
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t sent = ::send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return;
    rest.remove_prefix(static_cast<size_t>(sent));
  }
}

std::optional<json> TaskChannel::Receive() {
  std::string& buffer = state_->received;
  for (;;) {
    const size_t end = buffer.find('\n', state_->line_begin);
    if (end != std::string::npos) {
      auto line = ParseJson(std::string_view(buffer).substr(0, end));
      buffer.erase(0, end + 1);
      state_->line_begin = 0;
      if (line.ok() && line->is_object()) return std::move(*line);
      continue;  // the worker writes whole objects; anything else is not for us
    }
    state_->line_begin = buffer.size();
    char piece[1 << 16];
    const ssize_t got = fd_ >= 0 ? ::recv(fd_, piece, sizeof(piece), 0) : ::pause();
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || buffer.size() > kMaxLineBytes) return std::nullopt;
    buffer.append(piece, static_cast<size_t>(got));
  }
}

int RankFromEnvironment() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return rank != nullptr ? std::atoi(rank) : 0;
}

}  // namespace lorry
