// What people ask of a version: is it whole, where does it come from, what changed. Reads only.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "base/store/database.h"
#include "registry/blob_store.h"
#include "registry/name_index.h"

namespace lorry {

// {reference, whole, files: [{path, digest, whole}]}: every byte of every file and the manifest are read and hashed again.
Result<nlohmann::json> VerifyVersion(const BlobStore& blobs, const VersionEntry& version);

// {reference, digest, base, run, dataset, job, cost_usd, inputs, parents: [...]}: a parent is a lineage of its own.
Result<nlohmann::json> LineageOf(Database& db, const VersionEntry& version);

// {from, to, files: [{path, change, from, to}], manifest: [{key, from, to}]}
nlohmann::json DiffVersions(const VersionEntry& from, const VersionEntry& to);

// {version, digest, files, base, run, created, source, by, cost_usd}: a version in a list.
nlohmann::json VersionJson(const VersionEntry& version);
// [{path, digest, size}]
nlohmann::json FileListJson(const Manifest& manifest);

}  // namespace lorry
