#include "web/registry_desk.h"

#include <strings.h>

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/name_rules.h"
#include "base/text.h"
#include "ledger/books.h"
#include "registry/hub_face.h"
#include "registry/name_index.h"
#include "registry/publication.h"
#include "registry/registry_queries.h"
#include "scheduler/event_log.h"
#include "scheduler/job_lock.h"

namespace lorry {
namespace {

using nlohmann::json;

std::vector<BlobEntry> EntriesOf(const std::vector<wire::BlobFile>& files) {
  std::vector<BlobEntry> entries;
  entries.reserve(files.size());
  for (const wire::BlobFile& file : files) entries.push_back({file.path, file.digest, file.size});
  return entries;
}

const wire::Input* FindInput(const std::vector<wire::Input>& inputs, const std::string& name) {
  const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const wire::Input& input) { return input.name == name; });
  return found == inputs.end() ? nullptr : &*found;
}

std::string TextAt(const json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

Error AtKey(Error error, const char* key) {
  error.code = ErrorCode::kSpec;
  error.key = key;
  return error;
}

// A name for a model that was given as a directory: its last part, letters that names do not have replaced.
std::string NameOfDirectory(const std::string& directory) {
  std::string name = std::filesystem::path(directory).filename().string();
  if (name.empty()) name = std::filesystem::path(directory).parent_path().filename().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') c = '_';
  }
  name.resize(std::min(name.size(), kMaxNameBytes));
  return "library/" + (name.empty() ? "model" : name);
}

// What unfinished runs will make a version of has its kind already: a name that was taken by the other kind meanwhile would cost
// a whole training.
Status CheckPromised(Database& db, const std::string& name, ItemKind kind) {
  const auto is_same = [&](const std::string& promised) { return strcasecmp(promised.c_str(), name.c_str()) == 0; };
  LORRY_ASSIGN_OR_RETURN(const std::vector<UnfinishedRun> runs, UnfinishedModelRuns(db));
  for (const UnfinishedRun& run : runs) {
    if (run.kind != "finetune") continue;
    LORRY_ASSIGN_OR_RETURN(const json job, ParseJson(run.job_json));
    const bool is_adapter = is_same(TextAt(job.value("output", json()), "adapter"));
    const bool is_model = run.model.empty() && is_same(NameOfDirectory(TextAt(job, "base_model")));
    if ((is_adapter && kind != ItemKind::kAdapter) || (is_model && kind != ItemKind::kModel)) {
      return MakeError(
          ErrorCode::kConflict,
          fmt::format("registry: {} will be the name of {} of run {}", name, is_adapter ? "the adapter" : "the base", run.run),
          "choose another name, or cancel that run");
    }
  }
  return OkStatus();
}

// The registry does not know runs: what they still need of it is looked after here.
Status CheckAgainstRuns(Database& db, const std::string& query, const std::string& text) {
  LORRY_ASSIGN_OR_RETURN(const json question, ParseJson(text));
  if (query == "registry.import") {
    const Result<std::string> name = FullName(TextAt(question, "name"));
    const Result<ItemKind> kind = ItemKindFromName(TextAt(question, "kind"));
    return name.ok() && kind.ok() ? CheckPromised(db, *name, *kind) : OkStatus();  // the query itself says what is wrong
  }
  if (query != "registry.remove") return OkStatus();
  const Result<VersionEntry> version = ResolveReference(db, TextAt(question, "reference"));
  if (!version.ok()) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const std::vector<UnfinishedRun> runs, UnfinishedModelRuns(db));
  for (const UnfinishedRun& run : runs) {
    if (run.model != version->Text()) continue;
    return MakeError(ErrorCode::kConflict,
                     fmt::format("registry: {} is the model of run {}, which has not ended", run.model, run.run),
                     "wait for its end, or cancel it");
  }
  return OkStatus();
}

std::vector<wire::BlobFile> FilesOf(const VersionEntry& version) {
  std::vector<wire::BlobFile> files;
  for (const ManifestFile& file : version.manifest.files) files.push_back(wire::BlobFile{file.path, file.digest, file.size});
  return files;
}

class Registry final : public RegistryPort {
 public:
  explicit Registry(const std::string& home) : blobs_(home) {}

  Result<ResolvedReference> Resolve(Database& db, const std::string& reference) override {
    LORRY_ASSIGN_OR_RETURN(const VersionEntry version, ResolveReference(db, reference));
    ResolvedReference resolved{version.Text(), version.digest, version.manifest.created, FilesOf(version), false, {}, {}};
    resolved.is_adapter = version.manifest.kind == ItemKind::kAdapter;
    if (const auto& link = version.manifest.base) {
      LORRY_ASSIGN_OR_RETURN(const VersionEntry base, FindVersion(db, link->name, VersionText(link->version)));
      resolved.base = base.Text();
      resolved.base_files = FilesOf(base);
    }
    return resolved;
  }

  Status CheckTarget(Database& db, const std::string& adapter, const std::string& alias) override {
    const Result<std::string> name = FullName(adapter);
    if (!name.ok()) return AtKey(name.error(), "output.adapter");
    Status free = CheckNameFor(db, *name, ItemKind::kAdapter);
    if (free.ok()) free = CheckPromised(db, *name, ItemKind::kAdapter);
    if (!free.ok()) return AtKey(free.error(), "output.adapter");
    const Status alias_checked = alias.empty() ? OkStatus() : CheckAlias(alias);
    return alias_checked.ok() ? OkStatus() : Status(AtKey(alias_checked.error(), "output.alias"));
  }

  Status CheckBaseDirectory(Database& db, const std::string& directory, const std::string& adapter,
                            const std::vector<wire::BlobFile>& files) override {
    const std::string name = NameOfDirectory(directory);
    const Result<std::string> target = FullName(adapter);
    Status checked = CheckFileList(EntriesOf(files));
    if (checked.ok()) checked = CheckNameFor(db, name, ItemKind::kModel);
    if (checked.ok()) checked = CheckPromised(db, name, ItemKind::kModel);
    if (checked.ok() && target.ok() && strcasecmp(name.c_str(), target->c_str()) == 0) {
      checked = MakeError(ErrorCode::kConflict,
                          fmt::format("the directory becomes the model {}, which is output.adapter's name", name));
    }
    if (checked.ok()) return checked;
    Error error = checked.error();
    if (!error.file.empty()) error.message = error.file + " " + error.message;
    error.file.clear();  // the job's file is what the key stands in
    return AtKey(std::move(error), "base_model");
  }

  // A fine-tuning run's adapter becomes a version; other kinds of run publish nothing.
  Result<std::string> Publish(Database& db, const Run& run, const PublishWish& wish, Instant now) override {
    LORRY_ASSIGN_OR_RETURN(const json job, ParseJson(run.spec.job_json));
    const wire::Input* adapter = FindInput(wish.outputs, "adapter");
    const json output = job.contains("output") ? job["output"] : json();
    if (run.spec.kind != "finetune" || adapter == nullptr || TextAt(output, "adapter").empty()) return std::string("{}");
    Publication publication;
    publication.kind = ItemKind::kAdapter;
    publication.name = TextAt(output, "adapter");
    publication.alias = TextAt(output, "alias");
    publication.files = EntriesOf(adapter->files);
    LORRY_ASSIGN_OR_RETURN(publication.base, BaseOf(db, run, TextAt(job, "base_model"), now));
    LORRY_ASSIGN_OR_RETURN(publication.origin, OriginOf(db, run, wish));
    LORRY_ASSIGN_OR_RETURN(const Published published, lorry::Publish(db, blobs_, publication, now));
    const VersionEntry& entry = published.entry;
    return json{{"adapter", entry.Text()},      {"name", entry.manifest.name}, {"version", VersionText(entry.manifest.version)},
                {"digest", entry.digest.hex()}, {"base", publication.base},    {"existing", published.existing}}
        .dump();
  }

 private:
  // The base as the job's submission resolved it. One that came as a directory becomes a version of its own first.
  Result<std::string> BaseOf(Database& db, const Run& run, const std::string& base_model, Instant now) {
    if (!run.spec.model.empty()) return run.spec.model;
    const wire::Input* input = FindInput(run.spec.inputs, "base_model");
    if (input == nullptr) return MakeError(ErrorCode::kInternal, "a fine-tuning run without a base model ended");
    Publication base;
    base.kind = ItemKind::kModel;
    base.name = NameOfDirectory(base_model);
    base.files = EntriesOf(input->files);
    base.origin.source = base_model;
    LORRY_ASSIGN_OR_RETURN(const Published published, lorry::Publish(db, blobs_, base, now));
    return published.entry.Text();
  }

  Result<Origin> OriginOf(Database& db, const Run& run, const PublishWish& wish) {
    Origin origin;
    origin.run = run.spec.id;
    origin.source = "fine-tuned";
    origin.job_json = run.spec.job_json;
    origin.facts_json = wish.facts_json;
    for (const wire::Input& input : run.spec.inputs) origin.inputs[input.name] = DigestOf(input);
    LORRY_ASSIGN_OR_RETURN(const Dollars cost, RunCost(db, run.spec.id));
    origin.cost_usd = ToDecimalString(cost);
    return origin;
  }

  BlobStore blobs_;
};

}  // namespace

std::unique_ptr<RegistryPort> MakeRegistryPort(const std::string& home) { return std::make_unique<Registry>(home); }

void AddRegistryQueries(QueryTable* table, const std::string& home) {
  const auto blobs = std::make_shared<BlobStore>(home);
  for (RegistryQuery& query : RegistryQueries(*blobs)) {
    if (query.writes) {
      table->write[query.name] = [blobs, name = query.name, answer = std::move(query.answer)](
                                     Database& db, const std::string& text, Instant now) -> Result<std::string> {
        LORRY_TRY(CheckAgainstRuns(db, name, text));
        return answer(db, text, now);
      };
    } else {
      table->read[query.name] = [blobs, answer = std::move(query.answer)](Database& db, const std::string& text) {
        return answer(db, text, Instant());
      };
    }
  }
}

bool IsHubRequest(const HttpRequest& request) { return IsHubPath(request.path); }

HttpResponse AnswerHubRequest(Database& db, const std::string& home, const HttpRequest& request, bool may_read_private,
                              const std::string& user) {
  const BlobStore blobs(home);
  HubRequest question;
  question.method = request.method;
  question.path = request.path;
  question.query.assign(request.query.begin(), request.query.end());
  question.range = request.Header("range");
  question.content_type = request.Header("content-type");
  question.body = request.body;
  question.may_read_private = may_read_private;
  if (!user.empty()) question.user = user;
  HubResponse answer = AnswerHub(db, blobs, question);
  HttpResponse response;
  response.status = answer.status;
  response.headers = std::move(answer.headers);
  response.body = std::move(answer.body);
  if (answer.file) response.file = FileBody{answer.file->path, answer.file->offset, answer.file->length};
  return response;
}

}  // namespace lorry
