#include "batch/row_writer.h"

#include <utility>

namespace lorry {

RowWriter::RowWriter(ShardWriter shard, OnDurable on_durable, OnError on_error)
    : shard_(std::move(shard)), on_durable_(std::move(on_durable)), on_error_(std::move(on_error)), thread_([this] { Run(); }) {}

RowWriter::~RowWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RowWriter::Put(ShardRow row) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(row));
  changed_.notify_all();
}

void RowWriter::Flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !writing_; });
}

void RowWriter::Run() {
  bool broken = false;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::vector<ShardRow> group = std::exchange(waiting_, {});
    writing_ = true;
    lock.unlock();
    if (!broken) {
      const Status status = WriteGroup(group);
      broken = !status.ok();
      if (broken) on_error_(status.error());
    }
    lock.lock();
    writing_ = false;
    changed_.notify_all();
  }
}

Status RowWriter::WriteGroup(const std::vector<ShardRow>& group) {
  std::vector<RowPlace> places;
  for (const ShardRow& row : group) {
    LORRY_ASSIGN_OR_RETURN(RowPlace place, shard_.Append(row));
    places.push_back(std::move(place));
  }
  LORRY_TRY(shard_.Sync());
  for (size_t i = 0; i < group.size(); ++i) on_durable_(group[i], places[i]);
  return OkStatus();
}

}  // namespace lorry
