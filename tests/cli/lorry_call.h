// `lorry WORDS --home HOME` in this process: its status and what it wrote.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "cli/command_line.h"

namespace lorry {

struct Outcome {
  int status = 0;
  std::string out, err;
};

// Standard output or error into a file for as long as it lives.
class Captured {
 public:
  Captured(int fd, std::string path) : fd_(fd), saved_(dup(fd)), path_(std::move(path)) {
    std::fflush(fd_ == 1 ? stdout : stderr);
    FILE* file = std::fopen(path_.c_str(), "w");
    dup2(fileno(file), fd_);
    std::fclose(file);
  }
  std::string Take() {
    std::fflush(fd_ == 1 ? stdout : stderr);
    dup2(saved_, fd_);
    close(saved_);
    return *ReadFile(path_);
  }

 private:
  int fd_;
  int saved_;
  std::string path_;
};

inline Outcome Lorry(std::vector<std::string> words, const std::string& home) {
  words.insert(words.begin(), "lorry");
  words.insert(words.end(), {"--home", home});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  const TempDirectory folder;
  Captured out(1, folder.path() + "/out"), err(2, folder.path() + "/err");
  Outcome outcome;
  outcome.status = RunCommandLine(static_cast<int>(argv.size()), argv.data());
  outcome.err = err.Take();
  outcome.out = out.Take();
  return outcome;
}

}  // namespace lorry
