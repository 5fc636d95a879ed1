#include "batch/shard_index.h"

#include <algorithm>
#include <filesystem>

#include "base/files.h"

namespace lorry {

std::string ShardFileName(int rank) { return "shard-" + std::to_string(rank) + ".rows"; }

uint32_t ShardIndex::ShardNumber(const std::string& path) {
  const auto known = std::find(shards_.rbegin(), shards_.rend(), path);
  if (known != shards_.rend()) return static_cast<uint32_t>(shards_.rend() - known - 1);
  shards_.push_back(path);
  return static_cast<uint32_t>(shards_.size() - 1);
}

void ShardIndex::Add(ShardRow row, const RowPlace& place, bool committed) {
  row.line.clear();
  const int64_t index = row.index;
  Entry entry{std::move(row), ShardNumber(place.shard), place.offset, place.length, place.sha256, committed};
  const auto [known, added] = rows_.try_emplace(index, entry);
  if (!added && committed && !known->second.committed) known->second = std::move(entry);
}

Status ShardIndex::AddShardsBelow(const std::string& attempts_dir) {
  if (!FileExists(attempts_dir)) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const auto attempts, ListDirectory(attempts_dir));
  for (const std::string& attempt : attempts) {
    const std::string dir = attempts_dir + "/" + attempt;
    if (!std::filesystem::is_directory(dir)) continue;
    LORRY_ASSIGN_OR_RETURN(const auto files, ListDirectory(dir));
    for (const std::string& file : files) {
      if (!file.starts_with("shard-") || !file.ends_with(".rows")) continue;
      LORRY_TRY(ScanShard(dir + "/" + file, [this](const ShardRow& row, const RowPlace& place) {
        Add(row, place, false);
        return OkStatus();
      }));
    }
  }
  return OkStatus();
}

std::optional<IndexedRow> ShardIndex::Find(int64_t index) const {
  const auto found = rows_.find(index);
  if (found == rows_.end()) return std::nullopt;
  const Entry& entry = found->second;
  return IndexedRow{entry.row, {shards_[entry.shard], entry.offset, entry.length, entry.sha256}, entry.committed};
}

}  // namespace lorry
