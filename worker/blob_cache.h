// Files by digest in HOME/blobs/sha256/ab/..., and inputs put together from them. Where worker and scheduler share the home this
// is the scheduler's own store: a blob appears in it whole, under its digest, or not at all, whoever writes it.
// Functions over files; any thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "base/wire_types.h"

namespace lorry {

std::string BlobPath(const std::string& home, const Digest& digest);
bool HasBlob(const std::string& home, const Digest& digest);

// Hashes a file and makes a blob of it. Errors: kNotFound, kStorage.
Result<wire::BlobFile> StoreBlob(const std::string& home, const std::string& path);

// An output: one file, or a directory with everything in it, as blobs. Only regular files count. Errors: kNotFound, kStorage.
Result<wire::Output> StoreOutput(const std::string& home, const std::string& name, const std::string& path);

// The inputs' blobs that are not here, each once.
std::vector<wire::BlobFile> MissingBlobs(const std::string& home, const std::vector<wire::Input>& inputs);

// Makes each input a file or a directory of links to blobs in HOME/cache/inputs; the same input again is found there.
// Returns name -> path. Errors: kData for a path that leaves its directory, kNotFound for a blob that is not here, kStorage.
Result<std::map<std::string, std::string>> StageInputs(const std::string& home, const std::vector<wire::Input>& inputs);

}  // namespace lorry
