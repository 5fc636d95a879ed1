// The worker's end of the task contract (docs/formats/task-contract.md): a Unix socket that the ranks of one attempt connect to.
// Never blocks; one thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry {

struct RankLine {
  int rank = 0;
  nlohmann::json line;  // an object
};

class TaskSocket {
 public:
  // Errors: kStorage, kNotAllowed; a path of more than 107 bytes is kInternal.
  static Result<std::unique_ptr<TaskSocket>> Listen(const std::string& path);
  ~TaskSocket();  // ranks that still live see the end of file and end
  TaskSocket(const TaskSocket&) = delete;
  TaskSocket& operator=(const TaskSocket&) = delete;

  // Everything to wait on; changes with each Read.
  std::vector<int> fds() const;
  // New connections, and all whole lines that have come. A connection that sends what is no line of the contract is closed.
  std::vector<RankLine> Read();
  // Queued where the rank does not read; Flush sends on. A rank that is not connected gets nothing.
  void Send(int rank, const nlohmann::json& line);
  void SendAll(const nlohmann::json& line);
  void Flush();

  // The processes that said hello, by rank: as the kernel names them, not as they do.
  const std::map<int, pid_t>& processes() const { return processes_; }
  const std::string& path() const { return path_; }

 private:
  struct Connection {
    int fd = -1;
    int rank = -1;  // until its hello
    pid_t pid = -1;
    std::string received;
    size_t searched = 0;  // bytes of `received` known to hold no line's end
    std::string to_send;
  };
  TaskSocket(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  void Accept();
  bool ReadFrom(Connection* connection, std::vector<RankLine>* lines);
  bool TakeLines(Connection* connection, std::vector<RankLine>* lines);

  int fd_;
  std::string path_;
  std::vector<Connection> connections_;
  std::map<int, pid_t> processes_;
};

}  // namespace lorry
