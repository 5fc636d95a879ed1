#include "registry/version_reports.h"

#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace lorry {
namespace {

using Json = nlohmann::json;

constexpr int kMaxGenerations = 32;

Json TextOrNull(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string LinkText(const VersionLink& link) { return link.name + "@" + VersionText(link.version); }

Json BaseJson(const Manifest& manifest) { return manifest.base ? Json(LinkText(*manifest.base)) : Json(); }

Result<Json> LineageTo(Database& db, const VersionEntry& version, int generation) {
  const Origin& origin = version.manifest.origin;
  Json inputs = Json::object();
  for (const auto& [name, digest] : origin.inputs) inputs[name] = digest.hex();
  Json job;
  if (!origin.job_json.empty()) {
    const Result<Json> parsed = ParseJson(origin.job_json);
    job = parsed.ok() ? *parsed : Json(origin.job_json);
  }
  Json lineage = {{"reference", version.Text()},
                  {"digest", version.digest.hex()},
                  {"base", BaseJson(version.manifest)},
                  {"run", TextOrNull(origin.run.str())},
                  {"dataset", inputs.contains("train") ? inputs["train"] : Json()},
                  {"job", std::move(job)},
                  {"cost_usd", TextOrNull(origin.cost_usd)},
                  {"source", TextOrNull(origin.source)},
                  {"created", FormatUtc(version.manifest.created)},
                  {"inputs", std::move(inputs)},
                  {"parents", Json::array()}};
  std::vector<VersionLink> above = version.manifest.parents;
  if (version.manifest.base) above.push_back(*version.manifest.base);
  for (const VersionLink& link : above) {
    if (generation >= kMaxGenerations) break;
    Result<VersionEntry> parent = FindVersion(db, link.name, VersionText(link.version));
    if (!parent.ok()) {  // taken out since: its name and digest are all that is known
      lineage["parents"].push_back({{"reference", LinkText(link)}, {"digest", link.digest.hex()}, {"removed", true}});
      continue;
    }
    LORRY_ASSIGN_OR_RETURN(Json parent_lineage, LineageTo(db, *parent, generation + 1));
    lineage["parents"].push_back(std::move(parent_lineage));
  }
  return lineage;
}

// A manifest as flat keys, "adapter.r": what a diff compares. Files have their own list.
std::map<std::string, Json> FlatManifest(const Manifest& manifest) {
  Json json = Json::parse(ManifestJson(manifest));
  json.erase("files");
  const Json flattened = json.flatten();
  std::map<std::string, Json> flat;
  for (const auto& [pointer, value] : flattened.items()) {
    std::string key = pointer.substr(1);
    for (char& c : key) c = c == '/' ? '.' : c;
    flat[key] = value;
  }
  return flat;
}

}  // namespace

Json FileListJson(const Manifest& manifest) {
  Json files = Json::array();
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"path", file.path}, {"digest", file.digest.hex()}, {"size", file.size}});
  }
  return files;
}

Json VersionJson(const VersionEntry& version) {
  const Manifest& manifest = version.manifest;
  return {{"version", VersionText(manifest.version)},
          {"digest", version.digest.hex()},
          {"files", FileListJson(manifest)},
          {"base", BaseJson(manifest)},
          {"run", TextOrNull(manifest.origin.run.str())},
          {"created", FormatUtc(manifest.created)},
          {"source", TextOrNull(manifest.origin.source)},
          {"by", TextOrNull(manifest.origin.creator)},
          {"cost_usd", TextOrNull(manifest.origin.cost_usd)}};
}

Result<Json> VerifyVersion(const BlobStore& blobs, const VersionEntry& version) {
  bool whole = Sha256Of(ManifestJson(version.manifest)) == version.digest;
  Json files = Json::array();
  for (const ManifestFile& file : version.manifest.files) {
    const Status status = blobs.Verify(file.digest);
    if (!status.ok() && status.error().code != ErrorCode::kData && status.error().code != ErrorCode::kNotFound) {
      return status.error();
    }
    Json entry = {{"path", file.path}, {"digest", file.digest.hex()}, {"whole", status.ok()}};
    if (!status.ok()) entry["fault"] = status.error().message;
    whole = whole && status.ok();
    files.push_back(std::move(entry));
  }
  return Json{{"reference", version.Text()}, {"digest", version.digest.hex()}, {"whole", whole}, {"files", std::move(files)}};
}

Result<Json> LineageOf(Database& db, const VersionEntry& version) { return LineageTo(db, version, 0); }

Json DiffVersions(const VersionEntry& from, const VersionEntry& to) {
  Json files = Json::array();
  for (const ManifestFile& file : from.manifest.files) {
    const ManifestFile* other = to.manifest.Find(file.path);
    if (other != nullptr && other->digest == file.digest) continue;
    files.push_back({{"path", file.path},
                     {"change", other == nullptr ? "removed" : "changed"},
                     {"from", file.digest.hex()},
                     {"to", other == nullptr ? Json() : Json(other->digest.hex())}});
  }
  for (const ManifestFile& file : to.manifest.files) {
    if (from.manifest.Find(file.path) == nullptr) {
      files.push_back({{"path", file.path}, {"change", "added"}, {"from", nullptr}, {"to", file.digest.hex()}});
    }
  }
  std::map<std::string, Json> before = FlatManifest(from.manifest), after = FlatManifest(to.manifest);
  for (const auto& [key, value] : before) after.try_emplace(key, Json());
  for (const auto& [key, value] : after) before.try_emplace(key, Json());
  Json keys = Json::array();
  for (const auto& [key, value] : after) {
    if (before[key] != value) keys.push_back({{"key", key}, {"from", before[key]}, {"to", value}});
  }
  return {{"from", from.Text()}, {"to", to.Text()}, {"files", std::move(files)}, {"manifest", std::move(keys)}};
}

}  // namespace lorry
