// Blobs between this home and the scheduler's, for a worker with a home of its own: one after the other, in pieces, going on
// where a lost session stopped. In the event loop's thread; callbacks run there.
#pragma once

#include <cstdint>
#include <deque>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/result.h"
#include "base/wire.h"
#include "worker/outbox.h"

namespace lorry {

class BlobMover {
 public:
  using Done = std::function<void(Status)>;

  BlobMover(std::string home, Outbox* outbox) : home_(std::move(home)), outbox_(outbox) {}

  // All of them into this home's blobs. `done` is called once, with the first error or when all are there.
  void Fetch(std::vector<wire::BlobFile> files, Done done);
  // All of them, which lie in this home's blobs, to the scheduler.
  void Send(std::vector<wire::BlobFile> files, Done done);

  // An answer from the scheduler; false where it is not the mover's.
  bool OnMessage(const wire::Message& message);

 private:
  struct Job {
    std::vector<wire::BlobFile> files;
    bool fetch = false;
    Done done;
    size_t at = 0;
    std::optional<AtomicFile> writing;  // the file that is being fetched
    Sha256 hash;
    uint64_t offset = 0;
  };
  void Add(std::vector<wire::BlobFile> files, bool fetch, Done done);
  void Next();  // asks for the next piece, or ends the job
  void End(Status status);
  Status OnPiece(const wire::BlobPiece& piece);
  Status SendPiece(uint64_t offset);

  std::string home_;
  Outbox* outbox_;
  std::deque<std::unique_ptr<Job>> jobs_;
  uint64_t request_ = 0;  // the one question that is open; 0: none
};

}  // namespace lorry
