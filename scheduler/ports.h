// What the scheduler asks of registry and books, as few questions as it needs: the shell hands in the real ones, tests hand in
// fakes. Every call works on the Database it is given, on the reactor's thread; writes are part of the reactor's transaction.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/store/database.h"
#include "base/units.h"
#include "base/wire_types.h"
#include "scheduler/core.h"
#include "scheduler/state.h"

namespace lorry {

// A registry name as it stands at this moment.
struct ResolvedReference {
  std::string reference;  // "org/name@v3"
  Digest digest;          // of the version's manifest
  Instant created;        // of the version
  std::vector<wire::BlobFile> files;
  bool is_adapter = false;
  std::string base;                        // of an adapter: the version that it was trained on,
  std::vector<wire::BlobFile> base_files;  // and its files
};

class RegistryPort {
 public:
  virtual ~RegistryPort() = default;
  // "org/name", "org/name@v3" or "org/name@alias". Errors: kNotFound with the versions that there are.
  virtual Result<ResolvedReference> Resolve(Database& db, const std::string& reference) = 0;
  // What Publish would refuse later of a fine-tuning run, as far as it can be known before it starts. Errors name the job's key.
  virtual Status CheckTarget(Database& db, const std::string& adapter, const std::string& alias) = 0;
  virtual Status CheckBaseDirectory(Database& db, const std::string& directory, const std::string& adapter,
                                    const std::vector<wire::BlobFile>& files) = 0;
  // Makes a version of a run's outputs and returns a JSON object that says what was made. The blobs are in the store.
  virtual Result<std::string> Publish(Database& db, const Run& run, const PublishWish& wish, Instant now) = 0;
};

class BooksPort {
 public:
  virtual ~BooksPort() = default;
  // Posts all device time of one attempt; a repeat changes nothing.
  virtual Status Post(Database& db, const Run& run, const PostingWish& wish, Instant now) = 0;
  // What the run will take and cost, as a JSON object; what is known of it is kept with the run where `keep`. `kinds`: of the
  // devices that it could be given; none where no worker is there that could hold it. Errors: kSpec where one has no price.
  virtual Result<std::string> Quote(Database& db, const RunSpec& run, const std::set<std::string>& kinds, bool keep,
                                    Instant now) = 0;
  // What the run's device time costs so far: all that is posted, and `running`, which is not yet.
  virtual Result<Dollars> Spent(Database& db, const Run& run, const std::vector<wire::Span>& running) = 0;
  // What to say of a run whose device time so far costs as much as its job allows; nullopt while it costs less, or has no limit.
  virtual Result<std::optional<Error>> LimitReached(Database& db, const Run& run, const std::vector<wire::Span>& running) = 0;
};

}  // namespace lorry
