#include "registry/hub_entries.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lorry {
namespace {

using Json = nlohmann::json;

// What Git's pointer to a large file has for a length, which clients show beside it.
uint64_t PointerSize(const ManifestFile& file) {
  return fmt::format("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", file.digest.hex(), file.size).size();
}

Json DirectoryJson(const Manifest& manifest, const std::string& path) {
  std::string listing;  // stands in for Git's tree: 40 hex digits that change with the content
  for (const ManifestFile& file : manifest.files) {
    if (file.path.starts_with(path + "/")) listing += file.path + "\n" + file.git_oid + "\n";
  }
  return {{"type", "directory"}, {"path", path}, {"size", 0}, {"oid", GitBlobSha1(listing)}};
}

// All directories that files lie in: "a/b/c.txt" has "a" and "a/b".
std::set<std::string> DirectoriesOf(const Manifest& manifest) {
  std::set<std::string> directories;
  for (const ManifestFile& file : manifest.files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos; slash = file.path.find('/', slash + 1)) {
      directories.insert(file.path.substr(0, slash));
    }
  }
  return directories;
}

bool IsUnder(std::string_view path, std::string_view folder, bool recursive) {
  if (!folder.empty()) {
    if (!path.starts_with(folder) || path.size() <= folder.size() || path[folder.size()] != '/') return false;
    path.remove_prefix(folder.size() + 1);
  }
  return recursive || path.find('/') == path.npos;
}

std::vector<std::string> TagsOf(const Manifest& manifest) {
  std::vector<std::string> tags = {std::string(NameOf(manifest.kind)), "safetensors"};
  if (manifest.kind == ItemKind::kAdapter) {
    tags.push_back("peft");
    tags.push_back("lora");
    if (manifest.base) {
      tags.push_back("base_model:" + manifest.base->name);
      tags.push_back("base_model:adapter:" + manifest.base->name);
    }
  } else {
    tags.push_back("transformers");
  }
  return tags;
}

}  // namespace

Json FileEntryJson(const ManifestFile& file) {
  Json entry = {{"type", "file"}, {"path", file.path}, {"size", file.size}, {"oid", file.git_oid}};
  if (file.large) entry["lfs"] = {{"oid", file.digest.hex()}, {"size", file.size}, {"pointerSize", PointerSize(file)}};
  return entry;
}

Json TreeJson(const Manifest& manifest, std::string_view folder, bool recursive) {
  std::map<std::string, Json> entries;
  for (const std::string& directory : DirectoriesOf(manifest)) {
    if (IsUnder(directory, folder, recursive)) entries[directory] = DirectoryJson(manifest, directory);
  }
  for (const ManifestFile& file : manifest.files) {
    if (IsUnder(file.path, folder, recursive)) entries[file.path] = FileEntryJson(file);
  }
  Json list = Json::array();
  for (auto& [path, entry] : entries) list.push_back(std::move(entry));
  return list;
}

Json PathsInfoJson(const VersionEntry& version, const std::vector<std::string>& paths, bool expand) {
  const Manifest& manifest = version.manifest;
  const std::set<std::string> directories = DirectoriesOf(manifest);
  Json list = Json::array();
  for (const std::string& path : paths) {
    const ManifestFile* file = manifest.Find(path);
    if (file == nullptr && !directories.contains(path)) continue;
    Json entry = file != nullptr ? FileEntryJson(*file) : DirectoryJson(manifest, path);
    if (expand) {
      entry["lastCommit"] = {{"id", CommitOf(version.digest)}, {"title", version.Text()}, {"date", FormatUtc(manifest.created)}};
      entry["securityFileStatus"] = nullptr;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json ModelInfoJson(const VersionEntry& version, const std::string& id, bool is_private, Instant newest, bool with_blobs) {
  const Manifest& manifest = version.manifest;
  Json siblings = Json::array();
  for (const ManifestFile& file : manifest.files) {
    Json sibling = {{"rfilename", file.path}};
    if (with_blobs) {
      sibling["size"] = file.size;
      sibling["blobId"] = file.git_oid;
      if (file.large) sibling["lfs"] = {{"sha256", file.digest.hex()}, {"size", file.size}, {"pointerSize", PointerSize(file)}};
    }
    siblings.push_back(std::move(sibling));
  }
  Json info = {{"_id", CommitOf(version.digest).substr(0, 24)},
               {"id", id},
               {"modelId", id},
               {"author", id.substr(0, id.find('/'))},
               {"sha", CommitOf(version.digest)},
               {"createdAt", FormatUtc(manifest.created)},
               {"lastModified", FormatUtc(newest)},
               {"private", is_private},
               {"gated", false},
               {"disabled", false},
               {"downloads", 0},
               {"likes", 0},
               {"tags", TagsOf(manifest)},
               {"pipeline_tag", "text-generation"},
               {"library_name", manifest.kind == ItemKind::kAdapter ? "peft" : "transformers"},
               {"siblings", std::move(siblings)},
               {"usedStorage", manifest.TotalBytes()}};
  if (manifest.base) info["cardData"] = {{"base_model", manifest.base->name}, {"library_name", "peft"}};
  return info;
}

}  // namespace lorry
