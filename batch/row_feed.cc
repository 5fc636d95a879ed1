#include "batch/row_feed.h"

#include <utility>

namespace lorry {

void RowFeed::Push(EngineRow row) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || capacity_ == 0 || rows_.size() < capacity_; });
  if (closed_) return;
  rows_.push_back(std::move(row));
  changed_.notify_all();
}

void RowFeed::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void RowFeed::Abandon() {
  const std::lock_guard lock(mutex_);
  rows_.clear();
  closed_ = true;
  changed_.notify_all();
}

EngineRow RowFeed::PopFront() {
  EngineRow row = std::move(rows_.front());
  rows_.pop_front();
  changed_.notify_all();
  return row;
}

std::optional<EngineRow> RowFeed::TryTake() {
  const std::lock_guard lock(mutex_);
  if (rows_.empty()) return std::nullopt;
  return PopFront();
}

std::optional<EngineRow> RowFeed::Take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || !rows_.empty(); });
  if (rows_.empty()) return std::nullopt;
  return PopFront();
}

}  // namespace lorry
