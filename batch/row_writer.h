// Makes finished rows durable in groups: a thread of its own appends whatever has come meanwhile to the shard, calls fsync
// once, and only then says so, row by row. The engines never wait for the disk.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"
#include "batch/row_shard.h"

namespace lorry {

class RowWriter {
 public:
  using OnDurable = std::function<void(const ShardRow&, const RowPlace&)>;
  using OnError = std::function<void(const Error&)>;
  // Both are called on the writer's thread; after an error nothing more is written.
  RowWriter(ShardWriter shard, OnDurable on_durable, OnError on_error);
  // Writes what is waiting, then ends.
  ~RowWriter();

  // Any thread.
  void Put(ShardRow row);
  // Waits until all that was put is durable or an error was told.
  void Flush();

 private:
  void Run();
  Status WriteGroup(const std::vector<ShardRow>& group);

  ShardWriter shard_;
  OnDurable on_durable_;
  OnError on_error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ShardRow> waiting_;
  bool writing_ = false;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace lorry
