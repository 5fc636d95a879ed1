#include "scheduler/admission.h"

#include <algorithm>
#include <map>
#include <random>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"
#include "configs/job_spec.h"
#include "scheduler/placement.h"

namespace lorry {
namespace {

Error SpecError(std::string key, std::string message, std::string hint = "") {
  Error error = MakeError(ErrorCode::kSpec, std::move(message), std::move(hint));
  error.key = std::move(key);
  return error;
}

// A model or adapter that the job names: its key, what it says, and the input that it becomes.
struct Reference {
  std::string key;
  std::string text;
  std::string input;
};

std::vector<Reference> ReferencesOf(const JobSpec& job) {
  std::vector<Reference> references;
  if (const FinetuneSpec* finetune = job.finetune()) {
    references.push_back({"base_model", finetune->base_model, "base_model"});
    if (finetune->adapter.init_from) references.push_back({"adapter.init_from", *finetune->adapter.init_from, "adapter"});
  } else if (const BatchSpec* batch = job.batch()) {
    references.push_back({"model", batch->model, "base_model"});
    if (batch->adapter) references.push_back({"adapter", *batch->adapter, "adapter"});
  }
  return references;
}

// Data files by the name of their input and the job's key for them.
std::vector<std::pair<std::string, std::string>> FilesOf(const JobSpec& job) {
  if (const FinetuneSpec* finetune = job.finetune()) {
    std::vector<std::pair<std::string, std::string>> files = {{"train", "dataset.path"}};
    if (finetune->dataset.validation) files.emplace_back("validation", "dataset.validation");
    return files;
  }
  if (job.batch() != nullptr) return {{"input", "input"}};
  return {};
}

const wire::Input* FindInput(const std::vector<wire::Input>& inputs, const std::string& name) {
  auto found = std::find_if(inputs.begin(), inputs.end(), [&](const wire::Input& input) { return input.name == name; });
  return found == inputs.end() ? nullptr : &*found;
}

// The weight files by their paths.
std::map<std::string, Digest> WeightsIn(const std::vector<wire::BlobFile>& files) {
  std::map<std::string, Digest> weights;
  for (const wire::BlobFile& file : files) {
    if (file.path.ends_with(".safetensors")) weights.emplace(file.path, file.digest);
  }
  return weights;
}

// Every file that the job names is there as an input; every name is resolved to one.
Status ResolveInputs(const JobSpec& job, Database& db, RegistryPort* registry, RunSpec* spec) {
  for (const wire::Input& input : spec->inputs) {
    if (!IsValidUtf8(input.name)) {
      return SpecError("", fmt::format("the input name \"{}\" is not UTF-8", EscapeControl(input.name)));
    }
    for (const wire::BlobFile& file : input.files) {
      if (!IsValidUtf8(file.path) || !IsPathWithin(file.path)) {
        return SpecError(input.name, fmt::format("\"{}\" is not a path within an input, in UTF-8", EscapeControl(file.path)),
                         "rename the file");
      }
    }
  }
  for (const auto& [name, key] : FilesOf(job)) {
    if (FindInput(spec->inputs, name) == nullptr) return SpecError(key, fmt::format("the input \"{}\" was not sent", name));
  }
  for (const Reference& reference : ReferencesOf(job)) {
    spec->model_created = Instant();  // the last reference decides: the adapter's, where there is one
    if (FindInput(spec->inputs, reference.input) != nullptr) continue;
    if (IsDirectoryReference(reference.text)) {
      return SpecError(reference.key, fmt::format("the directory {} was not sent", reference.text));
    }
    if (registry == nullptr) {
      return SpecError(reference.key, fmt::format("{} is a registry name, and this scheduler has no registry", reference.text));
    }
    auto resolved = registry->Resolve(db, reference.text);
    if (!resolved.ok()) return SpecError(reference.key, resolved.error().message, resolved.error().hint);
    const bool wants_adapter = reference.input == "adapter";
    if (resolved->is_adapter != wants_adapter) {
      return SpecError(reference.key, fmt::format("{} is {}", resolved->reference,
                                                  wants_adapter ? "a model, not an adapter" : "an adapter, not a model"));
    }
    if (const wire::Input* model = FindInput(spec->inputs, "base_model");
        wants_adapter && model != nullptr && WeightsIn(model->files) != WeightsIn(resolved->base_files)) {
      return SpecError(
          reference.key,
          fmt::format("{} was trained on {}, which has other weights than the job's model", resolved->reference, resolved->base),
          "use the base that the adapter was trained on");
    }
    (reference.input == "base_model" ? spec->model : spec->adapter) = resolved->reference;
    spec->model_created = resolved->created;
    spec->inputs.push_back(wire::Input{reference.input, true, std::move(resolved->files)});
  }
  return OkStatus();
}

// A whole run is not to end in a name or a file that could have been refused before it.
Status CheckPublication(const JobSpec& job, Database& db, RegistryPort* registry, const RunSpec& spec) {
  const FinetuneSpec* finetune = job.finetune();
  if (finetune == nullptr || registry == nullptr) return OkStatus();
  LORRY_TRY(registry->CheckTarget(db, finetune->output.adapter, finetune->output.alias.value_or("")));
  if (!spec.model.empty()) return OkStatus();
  return registry->CheckBaseDirectory(db, finetune->base_model, finetune->output.adapter,
                                      FindInput(spec.inputs, "base_model")->files);
}

// Run ids as they are; a name is the latest run of that name in the project.
Status ResolveAfter(const JobSpec& job, const State& state, RunSpec* spec) {
  for (const std::string& name : job.after) {
    if (name == job.name) return SpecError("after", "a run cannot wait for itself");
    const Run* found = state.FindRun(RunId(name));
    for (const auto& [id, run] : state.runs) {
      if (run.spec.name != name || run.spec.project != job.project) continue;
      if (found == nullptr || run.order > found->order) found = &run;
    }
    if (found == nullptr) return SpecError("after", fmt::format("no run \"{}\" in project {}", name, job.project));
    spec->after.push_back(found->spec.id);
  }
  return OkStatus();
}

Status SetNeeds(const JobSpec& job, const State& state, AdmissionPolicy policy, RunSpec* spec) {
  DeviceNeeds& needs = spec->needs;
  needs.count = static_cast<uint32_t>(job.resources.Devices());
  needs.gpu = job.resources.gpus.has_value();
  if (needs.gpu) {
    needs.kind = job.resources.gpus->kind;
    needs.min_memory = static_cast<uint64_t>(job.resources.gpus->min_memory.value_or(Bytes()).count());
  }
  needs.elastic = spec->array > 1;
  if (CouldEverFit(state, needs)) return OkStatus();
  const uint32_t largest = LargestWorker(state, needs);
  if (needs.gpu && largest == 0 && policy.wait_for_unknown_gpu) return OkStatus();
  if (needs.gpu && largest == 0) return SpecError("resources.gpus", "no such GPU here", "use cpus: 2");
  return SpecError(needs.gpu ? "resources.gpus" : "resources.cpus",
                   fmt::format("{} asked for, the largest worker has {}", needs.count, largest),
                   fmt::format("ask for at most {}", largest));
}

Result<RunSpec> MakeSpec(const std::string& job_json, std::vector<wire::Input> inputs, const State& state, Database& db,
                         RegistryPort* registry, AdmissionPolicy policy) {
  LORRY_ASSIGN_OR_RETURN(nlohmann::json json, ParseJson(job_json));
  LORRY_ASSIGN_OR_RETURN(JobSpec job, JobFromJson(json));
  RunSpec spec;
  spec.name = job.name;
  spec.project = job.project;
  auto team = job.labels.find("team");
  if (team != job.labels.end()) spec.team = team->second;
  spec.kind = std::string(job.kind());
  spec.inputs = std::move(inputs);
  spec.priority = static_cast<int32_t>(job.priority);
  spec.max_attempts = static_cast<uint32_t>(job.retry.max_attempts);
  spec.max_duration = job.limits.max_duration.value_or(Millis());
  spec.on_exceed = job.limits.on_exceed == OnExceed::kStop ? wire::StopMode::kNow : wire::StopMode::kCheckpoint;
  if (const CommandSpec* command = job.command(); command != nullptr && command->array > 1) {
    spec.array = static_cast<uint64_t>(command->array);
  }
  if (const BatchSpec* batch = job.batch()) {
    spec.row_max_attempts = static_cast<uint32_t>(batch->row_max_attempts);
    spec.expires_after = batch->expires_after.value_or(Millis());
  }
  LORRY_TRY(ResolveInputs(job, db, registry, &spec));
  LORRY_TRY(CheckPublication(job, db, registry, spec));
  LORRY_TRY(ResolveAfter(job, state, &spec));
  LORRY_TRY(SetNeeds(job, state, policy, &spec));
  spec.job_json = CanonicalJson(ToJson(job));
  return spec;
}

Digest DigestOf(const wire::Submit& submit) {
  std::string bytes;
  wire::Encoder encoder(&bytes);
  submit.Fields(encoder);
  return Sha256Of(bytes);
}

}  // namespace

RunId MakeRunId() {
  static constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::random_device random;
  std::uniform_int_distribution<size_t> letter(0, kLetters.size() - 1);
  std::string id = "r-";
  for (int i = 0; i < 12; ++i) id += kLetters[letter(random)];
  return RunId(id);
}

Result<Admission> Admit(const wire::Submit& submit, const State& state, Database& db, RegistryPort* registry,
                        const BlobDesk& blobs, AdmissionPolicy policy) {
  if (submit.submission.empty() || submit.submission.str().size() > 200) {
    return SpecError("", "a submission needs an id of 1 to 200 characters");
  }
  if (!IsValidUtf8(submit.submission.str())) {
    return SpecError("", fmt::format("the submission id \"{}\" is not UTF-8", EscapeControl(submit.submission.str())));
  }
  const Digest digest = DigestOf(submit);
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT run, submitted_digest FROM run WHERE submission=?", submit.submission));
  LORRY_ASSIGN_OR_RETURN(bool known, rows.Next());
  if (known) {
    if (rows.AsDigest(1) == digest) return Admission{RunSpec(), RunId(rows.Text(0))};
    Error taken =
        MakeError(ErrorCode::kUsage, fmt::format("submission {} is {}, which is another job", submit.submission, rows.Text(0)),
                  "choose another --id");
    return taken;
  }
  for (const wire::Input& input : submit.inputs) {
    for (const wire::BlobFile& file : input.files) {
      if (!blobs.Has(file.digest)) {
        return MakeError(ErrorCode::kNotFound,
                         fmt::format("input {}: {} was not sent", EscapeControl(input.name), EscapeControl(file.path)));
      }
    }
  }
  Admission admission;
  LORRY_ASSIGN_OR_RETURN(admission.spec, MakeSpec(submit.job_json, submit.inputs, state, db, registry, policy));
  admission.spec.id = MakeRunId();
  admission.spec.submission = submit.submission;
  admission.spec.submitted_digest = digest;
  return admission;
}

Result<RunSpec> AdmitPlan(const wire::Plan& plan, const State& state, Database& db, RegistryPort* registry,
                          AdmissionPolicy policy) {
  return MakeSpec(plan.job_json, plan.inputs, state, db, registry, policy);
}

}  // namespace lorry
