// The registry's questions as the scheduler's open door has them: JSON in, JSON out (docs/formats/queries.md).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/store/database.h"
#include "base/units.h"
#include "registry/blob_store.h"

namespace lorry {

struct RegistryQuery {
  std::string name;     // "registry.show"
  bool writes = false;  // needs the scheduler's transaction
  std::function<Result<std::string>(Database& db, const std::string& json, Instant now)> answer;
};

// `blobs` must outlive what is returned. Answers may be called from any thread, each on its own Database.
std::vector<RegistryQuery> RegistryQueries(const BlobStore& blobs);

}  // namespace lorry
