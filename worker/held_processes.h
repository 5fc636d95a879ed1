// What a worker that was killed left running, so that the next one ends it first: one file for each attempt in HOME/worker/held,
// with the process id and start time of everything it started. A process id alone may name another program by then; with the
// start time it names one process for good, until the machine starts anew (the boot id stands at the head of the file). The
// process id is its group's too: of that group everything is ended that has the attempt in its environment (LORRY_RUN and
// LORRY_ATTEMPT), also where the process that led it died with its worker.
//
// A file is a head line and fixed-width lines, one for each slot, overwritten in place: a write per process and no fsync, since
// processes do not outlive what loses unsynced writes. One thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/ids.h"
#include "base/result.h"

namespace lorry {

class HeldProcesses {
 public:
  // Makes the attempt's file. Errors: kStorage, kNotAllowed.
  static Result<HeldProcesses> Open(const std::string& home, const RunId& run, AttemptNumber attempt);
  HeldProcesses(HeldProcesses&& other) noexcept;
  HeldProcesses& operator=(HeldProcesses&&) = delete;
  // Removes the file: the attempt is over and nothing of it runs.
  ~HeldProcesses();

  // In this slot runs `pid` from now on, instead of what ran in it before.
  void Put(size_t slot, pid_t pid);

  // Kills what the files of HOME name and waits until it is gone, then removes them. Returns how many processes it ended.
  static Result<int> EndLeftovers(const std::string& home);

 private:
  HeldProcesses(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

// SIGKILL to the group that `pid` leads and to itself.
void KillTree(pid_t pid);

}  // namespace lorry
