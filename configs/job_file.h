// A job file on disk: read, overridden by --set, checked; every error at once, each with file, line, column and key.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "configs/job_spec.h"
#include "configs/yaml_document.h"

namespace lorry {

struct ParsedJob {
  std::optional<JobSpec> spec;                      // set exactly when there are no errors
  std::vector<Error> errors;                        // in the order of the file
  std::string file;                                 // as named by the caller
  std::map<std::string, SourcePosition> positions;  // of each value, by key path: "dataset.path"
  std::map<std::string, std::string> origins;       // "--set KEY", of values that the command line gave

  bool ok() const { return errors.empty(); }
  // An error at the value of `key`, for checks that need more than the file itself (data, registry, devices).
  Error ErrorAt(const std::string& key, ErrorCode code, std::string message, std::string hint = "") const;
};

struct JobFileOptions {
  std::string file;                    // named in errors
  std::string folder;                  // relative paths start here; empty: the current directory
  std::vector<std::string> overrides;  // "training.max_steps=10"
};

ParsedJob ParseJob(std::string_view text, const JobFileOptions& options);

// Reads PATH, with its folder for relative paths. A file that cannot be read is one error (kSpec where it is missing).
ParsedJob LoadJob(const std::string& path, const std::vector<std::string>& overrides);

// All errors, one on a line, at most 20,000 bytes: what does not fit is counted in a last line.
std::string FormatErrors(const std::vector<Error>& errors);
// The same as one error, of a file that is read whole or not at all. REQUIRES: there is one.
Error AsOneError(const std::vector<Error>& errors);

}  // namespace lorry
