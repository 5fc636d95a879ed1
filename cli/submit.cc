#include "cli/submit.h"

#include <filesystem>
#include <map>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random_key.h"
#include "cli/follow.h"
#include "cli/input_checks.h"
#include "cli/plan.h"
#include "configs/job_spec.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

// What a job names by path: the input's name on the wire, and where it lies.
std::vector<std::pair<std::string, std::string>> NamedPaths(const JobSpec& job) {
  std::vector<std::pair<std::string, std::string>> paths;
  if (const FinetuneSpec* finetune = job.finetune()) {
    if (IsDirectoryReference(finetune->base_model)) paths.emplace_back("base_model", finetune->base_model);
    if (finetune->adapter.init_from) paths.emplace_back("adapter", *finetune->adapter.init_from);
    paths.emplace_back("train", finetune->dataset.path);
    if (finetune->dataset.validation) paths.emplace_back("validation", *finetune->dataset.validation);
  }
  if (const BatchSpec* batch = job.batch()) {
    if (IsDirectoryReference(batch->model)) paths.emplace_back("base_model", batch->model);
    if (batch->adapter && IsDirectoryReference(*batch->adapter)) paths.emplace_back("adapter", *batch->adapter);
    paths.emplace_back("input", batch->input);
  }
  return paths;
}

Result<wire::BlobFile> HashedFile(Session& session, const std::string& path, const std::string& name) {
  LORRY_ASSIGN_OR_RETURN(const Bytes size, FileSize(path));
  session.terminal().Progress("hashing " + name, 0, 0, FormatSize(size));
  wire::BlobFile file;
  file.path = name;
  LORRY_ASSIGN_OR_RETURN(file.digest, Sha256OfFile(path));
  file.size = static_cast<uint64_t>(size.count());
  return file;
}

}  // namespace

Result<std::vector<wire::Input>> InputsOf(Session& session, const JobSpec& job) {
  std::vector<wire::Input> inputs;
  for (const auto& [name, path] : NamedPaths(job)) {
    wire::Input input;
    input.name = name;
    std::error_code failed;
    input.directory = fs::is_directory(path, failed);
    if (!input.directory) {
      LORRY_ASSIGN_OR_RETURN(wire::BlobFile file, HashedFile(session, path, fs::path(path).filename().string()));
      input.files.push_back(std::move(file));
    }
    for (auto entry = fs::recursive_directory_iterator(path, failed);
         input.directory && !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
      if (entry->path().filename().string().starts_with(
              '.')) {  // what downloads leave behind; `lorry model import` passes it over too
        if (entry->is_directory(failed)) entry.disable_recursion_pending();
        continue;
      }
      if (!entry->is_regular_file(failed)) continue;
      LORRY_ASSIGN_OR_RETURN(wire::BlobFile file, HashedFile(session, entry->path().string(),
                                                             fs::relative(entry->path(), path, failed).generic_string()));
      input.files.push_back(std::move(file));
    }
    if (input.directory && failed) {
      return MakeError(ErrorCode::kStorage, fmt::format("cannot read {}: {}", path, failed.message()));
    }
    std::sort(input.files.begin(), input.files.end(),
              [](const wire::BlobFile& a, const wire::BlobFile& b) { return a.path < b.path; });
    inputs.push_back(std::move(input));
  }
  session.terminal().EndProgress();
  return inputs;
}

Status PushInputs(Session& session, const JobSpec& job, const std::vector<wire::Input>& inputs) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  std::map<std::string, std::string> paths;
  for (const auto& [name, path] : NamedPaths(job)) paths[name] = path;
  std::vector<Digest> digests;
  for (const wire::Input& input : inputs) {
    for (const wire::BlobFile& file : input.files) digests.push_back(file.digest);
  }
  LORRY_ASSIGN_OR_RETURN(const std::vector<bool> present, scheduler->HasBlobs(digests));
  size_t index = 0;
  for (const wire::Input& input : inputs) {
    for (const wire::BlobFile& file : input.files) {
      if (present[index++]) continue;
      const std::string path = input.directory ? paths[input.name] + "/" + file.path : paths[input.name];
      LORRY_TRY(scheduler->PutFile(path, file.digest, [&](uint64_t done, uint64_t total) {
        session.terminal().Progress("pushing " + file.path, done, total);
      }));
    }
  }
  session.terminal().EndProgress();
  return OkStatus();
}

Error Placed(const ParsedJob& job, Error error) {
  if (error.key.empty() || error.line > 0) return error;
  Error placed = job.ErrorAt(error.key, error.code, error.message, error.hint);
  return placed;
}

Result<int> RunSubmit(Session& session, const SubmitOptions& options) {
  const ParsedJob job = LoadJob(options.file, options.overrides);
  if (!job.ok()) {
    session.terminal().PrintErrors(job.errors);
    return 2;
  }
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  const CheckedInputs checked = CheckInputs(job, session);
  for (const std::string& note : checked.facts.notes) session.terminal().Note(note);
  if (!checked.errors.empty()) {
    session.terminal().PrintErrors(checked.errors);
    return 2;
  }
  wire::Submit request;
  request.submission = SubmissionId(options.id.empty() ? RandomKey() : options.id);
  request.job_json = CanonicalJson(ToJson(*job.spec));
  LORRY_ASSIGN_OR_RETURN(request.inputs, InputsOf(session, *job.spec));
  LORRY_TRY(PushInputs(session, *job.spec, request.inputs));
  const Result<wire::Submitted> submitted = scheduler->Submit(request);
  if (!submitted.ok()) return Placed(job, submitted.error());
  RecordExpectation(session, submitted->run, *job.spec, checked);
  if (submitted->existing) session.terminal().Note("this submission had been made before; nothing was started again");
  if (!options.wait) {
    session.terminal().Print(submitted->run.str() + "\n");
    session.terminal().PrintJson({{"run", submitted->run.str()}});
    return 0;
  }
  session.terminal().Note(submitted->run.str());
  LORRY_ASSIGN_OR_RETURN(const wire::RunSummary summary, FollowRun(session, submitted->run));
  if (summary.state == "succeeded") LORRY_TRY(BringOutputs(session, submitted->run, *job.spec));
  session.terminal().Print(submitted->run.str() + "\n");
  session.terminal().PrintJson(RunJson(summary));
  return summary.state == "succeeded" ? 0 : 1;
}

}  // namespace lorry
