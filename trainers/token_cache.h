// The file in which an encoded data set is kept: HDF5, written once under a temporary name and renamed, its digest checked when
// read.
#pragma once

#include <optional>
#include <string>

#include "base/hash.h"
#include "base/result.h"
#include "trainers/dataset.h"

namespace lorry::trainers {

// What decides about the tokens of a file: its bytes, the tokenizer, the template, the options, the version of the encoding.
Digest TokenCacheKey(const DatasetRequest& request, const Digest& file_digest);

std::string TokenCachePath(const std::string& cache_dir, const Digest& key);

// nullopt where there is none, or it is not whole.
std::optional<Dataset> ReadTokenCache(const std::string& path, const Digest& key);

Status WriteTokenCache(const std::string& path, const Digest& key, const Dataset& data);

}  // namespace lorry::trainers
