// A version's files as the Hugging Face interface lists them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "registry/name_index.h"

namespace lorry {

// {type, path, size, oid, lfs?} as in the answers of tree and paths-info.
nlohmann::json FileEntryJson(const ManifestFile& file);

// Files and directories under `folder` ("" is the root), directories first at each level as they come by name; with `recursive`
// all below too. Empty where there is nothing under that name.
nlohmann::json TreeJson(const Manifest& manifest, std::string_view folder, bool recursive);

// The entries of the paths asked for, files and directories, those that there are.
nlohmann::json PathsInfoJson(const VersionEntry& version, const std::vector<std::string>& paths, bool expand);

// The answer of model_info.
nlohmann::json ModelInfoJson(const VersionEntry& version, const std::string& id, bool is_private, Instant newest,
                             bool with_blobs);

}  // namespace lorry
