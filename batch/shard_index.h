// Where each finished row of a run lies: the rows that lorryd has committed, and those that an attempt wrote but could not
// report before it died. The latter are not computed again: when their row is leased anew, they are offered as they are.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "batch/row_shard.h"

namespace lorry {

struct IndexedRow {
  ShardRow row;    // without its line
  RowPlace place;  // an empty shard: the scheduler gave the row up, and no bytes of it count
  bool committed = false;
};

class ShardIndex {
 public:
  // The first entry of a row stays, but that a committed one takes the place of one that is not.
  void Add(ShardRow row, const RowPlace& place, bool committed);
  // Adds every whole row of the shards "shard-*.rows" in `attempts_dir`/N, uncommitted. Other files are passed over.
  Status AddShardsBelow(const std::string& attempts_dir);

  std::optional<IndexedRow> Find(int64_t index) const;
  int64_t rows() const { return static_cast<int64_t>(rows_.size()); }

 private:
  struct Entry {
    ShardRow row;
    uint32_t shard = 0;  // of shards_
    int64_t offset = 0, length = 0;
    Digest sha256;
    bool committed = false;
  };
  uint32_t ShardNumber(const std::string& path);

  std::vector<std::string> shards_;
  std::unordered_map<int64_t, Entry> rows_;
};

// The name of a rank's shard in its attempt's folder.
std::string ShardFileName(int rank);

}  // namespace lorry
