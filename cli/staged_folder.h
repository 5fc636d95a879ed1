// A folder that is filled under a hidden name and then appears whole under its own. What is not moved is taken away with the
// object; what a process left behind that was killed, the next StagedFolder beside it takes away.
#pragma once

#include <string>

#include "base/result.h"

namespace lorry {

class StagedFolder {
 public:
  // An empty folder in `parent`, which is made where it is missing.
  static Result<StagedFolder> In(const std::string& parent);
  // One that MoveTo(target) can move: beside `target`, or in it where it is there already (it may be a file system of its own).
  static Result<StagedFolder> For(const std::string& target);
  // kConflict where `target` is a file, or a folder with something in it.
  static Status CheckFree(const std::string& target);
  StagedFolder(StagedFolder&& other) noexcept;
  StagedFolder& operator=(StagedFolder&&) = delete;
  ~StagedFolder();

  const std::string& path() const { return path_; }

  // Gives everything its name, durably. Where `target` is there, file by file, config.json and adapter_config.json last: a folder
  // without them is no model and no adapter. On an error nothing is left in `target`. Call once, last.
  Status MoveTo(const std::string& target);

 private:
  explicit StagedFolder(std::string path) : path_(std::move(path)) {}
  Status MoveInto(const std::string& target);
  std::string path_;
};

}  // namespace lorry
