#include "worker/blob_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "base/files.h"
#include "base/text.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

// A digest of the listing: two inputs with the same files under the same names are one directory.
std::string ListingName(const wire::Input& input) {
  std::string listing;
  for (const wire::BlobFile& file : input.files) listing += fmt::format("{} {}\n", file.digest.hex(), file.path);
  return Sha256Of(listing).hex();
}

Status CheckRelative(const std::string& path) {
  const fs::path parts(path);
  const bool leaves = parts.empty() || parts.is_absolute() ||
                      std::any_of(parts.begin(), parts.end(), [](const fs::path& part) { return part == ".."; });
  if (leaves) {
    return MakeError(ErrorCode::kData, fmt::format("input file \"{}\" would lie outside of its directory", EscapeControl(path)));
  }
  return OkStatus();
}

Status LinkFiles(const std::string& home, const wire::Input& input, const std::string& directory) {
  for (const wire::BlobFile& file : input.files) {
    LORRY_TRY(CheckRelative(file.path));
    if (!HasBlob(home, file.digest)) {
      return MakeError(ErrorCode::kNotFound,
                       fmt::format("input {}: {} ({}) is not in the blob store", input.name, file.path, file.digest.hex()));
    }
    const std::string link = directory + "/" + file.path;
    LORRY_TRY(MakeDirectories(fs::path(link).parent_path().string()));
    if (::symlink(BlobPath(home, file.digest).c_str(), link.c_str()) != 0) return ErrnoError("cannot link", link);
  }
  return OkStatus();
}

Result<std::string> StageInput(const std::string& home, const wire::Input& input) {
  const std::string folder = home + "/cache/inputs";
  const std::string directory = folder + "/" + ListingName(input);
  const std::string path = input.directory || input.files.size() != 1 ? directory : directory + "/" + input.files[0].path;
  // A link whose blob was collected meanwhile is staged anew.
  const bool whole = std::all_of(input.files.begin(), input.files.end(),
                                 [&](const wire::BlobFile& f) { return FileExists(directory + "/" + f.path); });
  if (FileExists(directory) && whole) return path;
  LORRY_TRY(MakeDirectories(folder));
  LORRY_TRY(RemoveTree(directory));
  std::string making = folder + "/making-XXXXXX";
  if (::mkdtemp(making.data()) == nullptr) return ErrnoError("cannot make", making);
  if (Status linked = LinkFiles(home, input, making); !linked.ok()) {
    (void)RemoveTree(making).ok();
    return std::move(linked).error();
  }
  LORRY_TRY(RenameDurably(making, directory));
  return path;
}

}  // namespace

std::string BlobPath(const std::string& home, const Digest& digest) {
  const std::string hex = digest.hex();
  return fmt::format("{}/blobs/sha256/{}/{}", home, hex.substr(0, 2), hex);
}

bool HasBlob(const std::string& home, const Digest& digest) { return FileExists(BlobPath(home, digest)); }

Result<wire::BlobFile> StoreBlob(const std::string& home, const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const Bytes size, FileSize(path));
  LORRY_ASSIGN_OR_RETURN(const Digest digest, Sha256OfFile(path));
  wire::BlobFile blob{.path = fs::path(path).filename().string(), .digest = digest, .size = static_cast<uint64_t>(size.count())};
  if (HasBlob(home, digest)) return blob;
  const std::string target = BlobPath(home, digest);
  LORRY_TRY(MakeDirectories(fs::path(target).parent_path().string()));
  LORRY_ASSIGN_OR_RETURN(const MappedFile source, MappedFile::Open(path));
  LORRY_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::Create(target, 0444));
  LORRY_TRY(copy.Write(source.bytes()));
  LORRY_TRY(copy.Commit());
  return blob;
}

Result<wire::Output> StoreOutput(const std::string& home, const std::string& name, const std::string& path) {
  wire::Output output;
  output.name = name;
  std::error_code problem;
  output.directory = fs::is_directory(path, problem);
  if (!output.directory) {
    LORRY_ASSIGN_OR_RETURN(wire::BlobFile file, StoreBlob(home, path));
    output.files.push_back(std::move(file));
    return output;
  }
  std::vector<std::string> paths;
  for (fs::recursive_directory_iterator at(path, problem), end; !problem && at != end; at.increment(problem)) {
    if (at->is_regular_file(problem) && !at->is_symlink(problem)) paths.push_back(at->path().string());
  }
  if (problem) return MakeError(ErrorCode::kStorage, fmt::format("cannot list {}: {}", path, problem.message()));
  std::sort(paths.begin(), paths.end());
  for (const std::string& file_path : paths) {
    LORRY_ASSIGN_OR_RETURN(wire::BlobFile file, StoreBlob(home, file_path));
    file.path = fs::path(file_path).lexically_relative(path).generic_string();
    output.files.push_back(std::move(file));
  }
  return output;
}

std::vector<wire::BlobFile> MissingBlobs(const std::string& home, const std::vector<wire::Input>& inputs) {
  std::vector<wire::BlobFile> missing;
  std::set<Digest> seen;
  for (const wire::Input& input : inputs) {
    for (const wire::BlobFile& file : input.files) {
      if (seen.insert(file.digest).second && !HasBlob(home, file.digest)) missing.push_back(file);
    }
  }
  return missing;
}

Result<std::map<std::string, std::string>> StageInputs(const std::string& home, const std::vector<wire::Input>& inputs) {
  std::map<std::string, std::string> paths;
  for (const wire::Input& input : inputs) {
    LORRY_ASSIGN_OR_RETURN(paths[input.name], StageInput(home, input));
  }
  return paths;
}

}  // namespace lorry
