#include "registry/manifest.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace lorry {
namespace {

using Json = nlohmann::json;

constexpr int kSchema = 1;
// What is not fetched as text: weights by their ending, anything else by its size.
constexpr std::array<std::string_view, 4> kLargeEndings = {".safetensors", ".gguf", ".h5", ".npz"};
constexpr uint64_t kLargeBytes = 1 << 20;

Json LinkJson(const VersionLink& link) { return {{"name", link.name}, {"version", link.version}, {"digest", link.digest.hex()}}; }

Json FilesJson(const std::vector<ManifestFile>& files) {
  Json list = Json::array();
  for (const ManifestFile& file : files) {
    list.push_back({{"path", file.path},
                    {"sha256", file.digest.hex()},
                    {"size", file.size},
                    {"git_oid", file.git_oid},
                    {"large", file.large}});
  }
  return list;
}

Json OriginJson(const Origin& origin) {
  Json inputs = Json::object();
  for (const auto& [name, digest] : origin.inputs) inputs[name] = digest.hex();
  return {{"run", origin.run.str()},    {"source", origin.source},     {"inputs", inputs},         {"job", origin.job_json},
          {"facts", origin.facts_json}, {"cost_usd", origin.cost_usd}, {"creator", origin.creator}};
}

Digest DigestAt(const Json& json, const char* key) {
  const Result<Digest> digest = Digest::FromHex(json.at(key).get<std::string>());
  if (!digest.ok()) throw Json::other_error::create(501, digest.error().message, &json);
  return *digest;
}

VersionLink LinkOf(const Json& json) {
  return {json.at("name").get<std::string>(), json.at("version").get<int64_t>(), DigestAt(json, "digest")};
}

Manifest ManifestOf(const Json& json) {
  Manifest manifest;
  manifest.kind = json.at("kind") == "adapter" ? ItemKind::kAdapter : ItemKind::kModel;
  manifest.name = json.at("name").get<std::string>();
  manifest.version = json.at("version").get<int64_t>();
  manifest.created = Instant(json.at("created_ms").get<int64_t>());
  for (const Json& file : json.at("files")) {
    manifest.files.push_back({{file.at("path").get<std::string>(), DigestAt(file, "sha256"), file.at("size").get<uint64_t>()},
                              file.at("git_oid").get<std::string>(),
                              file.at("large").get<bool>()});
  }
  if (json.contains("base")) manifest.base = LinkOf(json.at("base"));
  for (const Json& parent : json.at("parents")) manifest.parents.push_back(LinkOf(parent));
  if (json.contains("adapter")) {
    const Json& facts = json.at("adapter");
    manifest.adapter = AdapterFacts{
        facts.at("peft_type").get<std::string>(), facts.at("r").get<int64_t>(), std::stod(facts.at("alpha").get<std::string>()),
        facts.at("target_modules").get<std::vector<std::string>>(), facts.at("parameters").get<int64_t>()};
  }
  const Json& origin = json.at("origin");
  manifest.origin.run = RunId(origin.at("run").get<std::string>());
  manifest.origin.source = origin.at("source").get<std::string>();
  for (const auto& [name, hex] : origin.at("inputs").items()) {
    manifest.origin.inputs[name] = DigestAt(origin.at("inputs"), name.c_str());
  }
  manifest.origin.job_json = origin.at("job").get<std::string>();
  manifest.origin.facts_json = origin.at("facts").get<std::string>();
  manifest.origin.cost_usd = origin.at("cost_usd").get<std::string>();
  manifest.origin.creator = origin.at("creator").get<std::string>();
  return manifest;
}

}  // namespace

std::string_view NameOf(ItemKind kind) { return kind == ItemKind::kModel ? "model" : "adapter"; }

Result<ItemKind> ItemKindFromName(std::string_view name) {
  if (name == "model") return ItemKind::kModel;
  if (name == "adapter") return ItemKind::kAdapter;
  return MakeError(ErrorCode::kUsage, fmt::format("kind \"{}\" is neither model nor adapter", name));
}

const ManifestFile* Manifest::Find(std::string_view path) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const ManifestFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

uint64_t Manifest::TotalBytes() const {
  uint64_t bytes = 0;
  for (const ManifestFile& file : files) bytes += file.size;
  return bytes;
}

std::string ManifestJson(const Manifest& manifest) {
  Json json = {{"schema", kSchema},           {"kind", NameOf(manifest.kind)},           {"name", manifest.name},
               {"version", manifest.version}, {"created_ms", manifest.created.millis()}, {"files", FilesJson(manifest.files)},
               {"parents", Json::array()},    {"origin", OriginJson(manifest.origin)}};
  if (manifest.base) json["base"] = LinkJson(*manifest.base);
  for (const VersionLink& parent : manifest.parents) json["parents"].push_back(LinkJson(parent));
  if (manifest.adapter) {
    // alpha as text: what is hashed holds integers and texts only.
    json["adapter"] = {{"peft_type", manifest.adapter->peft_type},
                       {"r", manifest.adapter->r},
                       {"alpha", fmt::format("{}", manifest.adapter->alpha)},
                       {"target_modules", manifest.adapter->target_modules},
                       {"parameters", manifest.adapter->parameters}};
  }
  return CanonicalJson(json);
}

Result<Manifest> ParseManifest(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  try {
    if (json.at("schema") != kSchema) return MakeError(ErrorCode::kUnsupported, "a manifest of another schema");
    return ManifestOf(json);
  } catch (const std::exception& failed) {
    return MakeError(ErrorCode::kData, fmt::format("a manifest is damaged: {}", failed.what()));
  }
}

Digest ContentDigest(const Manifest& manifest) {
  Json json = {{"kind", NameOf(manifest.kind)}, {"files", FilesJson(manifest.files)}};
  if (manifest.base) json["base"] = manifest.base->digest.hex();
  return Sha256Of(CanonicalJson(json));
}

std::string CommitOf(const Digest& digest) { return digest.hex().substr(0, 40); }

Result<ManifestFile> DescribeFile(const BlobStore& blobs, const BlobEntry& entry) {
  ManifestFile file{entry, "", entry.size > kLargeBytes};
  for (const std::string_view ending : kLargeEndings) file.large = file.large || entry.path.ends_with(ending);
  if (file.large) {
    // What Git holds of a large file (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
    file.git_oid = GitBlobSha1(
        fmt::format("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", entry.digest.hex(), entry.size));
    return file;
  }
  LORRY_ASSIGN_OR_RETURN(const std::string bytes, blobs.ReadBytes(entry.digest, kLargeBytes));
  file.git_oid = GitBlobSha1(bytes);
  return file;
}

}  // namespace lorry
