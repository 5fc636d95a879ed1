// A model or adapter as files on this machine, whatever way it was named: a directory, a .gguf, or a registry name.
//
// Files of a home on this machine are linked, not copied; those of a remote registry are fetched once into HOME/cache/models,
// named by the version's digest. A .gguf is converted once into HOME/cache/gguf, named by its SHA-256.
#pragma once

#include <memory>
#include <string>

#include "base/files.h"
#include "base/result.h"
#include "cli/session.h"
#include "registry/manifest.h"

namespace lorry {

struct LocalModel {
  std::string path;                            // a directory
  std::string reference;                       // "org/name@v3", or the path as given
  std::string digest;                          // of the registry's version; empty for a path
  std::string weights;                         // of a registry's version: one digest of all its weight files
  std::string base;                            // of a registry's adapter: the version that it was trained on
  std::shared_ptr<const TempDirectory> links;  // keeps `path` alive where it is a folder of links or headers
};

enum class ModelPart {
  kWhole,
  kHeaders,  // in place of a remote registry's tensors there are holes, and nothing is kept: for whoever only looks at shapes
};

// `reference` as in a job: a registry name, or a path that is absolute or exists. Errors: kNotFound, kUnreachable where only a
// scheduler knows the name, kData.
Result<LocalModel> FindModel(Session& session, const std::string& reference, ModelPart part = ModelPart::kWhole);

// Whether `found` is of that kind. kUsage where it is of the other, kNotFound where it is of neither.
Status CheckKind(const LocalModel& found, const std::string& given, ItemKind kind);

// Whether a registry's adapter was trained on these weights, under whatever name they are registered. A directory is not known:
// there only shapes can tell. kUsage where it was not.
Status CheckTrainedOn(Session& session, const LocalModel& adapter, const LocalModel& model);

// HOME/blobs/sha256/ab/HEX.
std::string BlobPath(const std::string& home, const std::string& hex);

// Puts the files of an answer of `registry.resolve` or `run.outputs` into `folder`, fetched from the scheduler.
Status FetchFiles(Session& session, const nlohmann::json& files, const std::string& folder);

}  // namespace lorry
