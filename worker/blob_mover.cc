#include "worker/blob_mover.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "worker/blob_cache.h"

namespace lorry {

void BlobMover::Fetch(std::vector<wire::BlobFile> files, Done done) { Add(std::move(files), true, std::move(done)); }

void BlobMover::Send(std::vector<wire::BlobFile> files, Done done) { Add(std::move(files), false, std::move(done)); }

void BlobMover::Add(std::vector<wire::BlobFile> files, bool fetch, Done done) {
  auto job = std::make_unique<Job>();
  job->files = std::move(files);
  job->fetch = fetch;
  job->done = std::move(done);
  jobs_.push_back(std::move(job));
  if (jobs_.size() == 1) Next();
}

void BlobMover::End(Status status) {
  const std::unique_ptr<Job> job = std::move(jobs_.front());
  jobs_.pop_front();
  job->done(std::move(status));
  if (!jobs_.empty() && request_ == 0) Next();
}

void BlobMover::Next() {
  Job& job = *jobs_.front();
  while (job.fetch && job.at < job.files.size() && !job.writing && HasBlob(home_, job.files[job.at].digest)) ++job.at;
  if (job.at == job.files.size()) return End(OkStatus());
  const wire::BlobFile& file = job.files[job.at];
  if (!job.fetch) {
    // An empty piece asks how much is there: nothing is sent that the scheduler has.
    request_ = outbox_->Keep(wire::PutBlob{.digest = file.digest, .size = file.size, .offset = 0, .bytes = ""}, Epoch());
    return;
  }
  if (!job.writing) {
    const std::string target = BlobPath(home_, file.digest);
    if (Status made = MakeDirectories(std::filesystem::path(target).parent_path().string()); !made.ok()) {
      return End(std::move(made));
    }
    Result<AtomicFile> writing = AtomicFile::Create(target, 0444);
    if (!writing.ok()) return End(writing.error());
    job.writing.emplace(std::move(*writing));
    job.hash = Sha256();
    job.offset = 0;
  }
  request_ = outbox_->Keep(wire::GetBlob{.digest = file.digest, .offset = job.offset}, Epoch());
}

Status BlobMover::OnPiece(const wire::BlobPiece& piece) {
  Job& job = *jobs_.front();
  const wire::BlobFile& file = job.files[job.at];
  if (piece.size != file.size || piece.offset != job.offset || (piece.bytes.empty() && job.offset < file.size)) {
    return MakeError(ErrorCode::kData, fmt::format("blob {}: a piece that was not asked for", file.digest.hex()));
  }
  LORRY_TRY(job.writing->Write(std::string_view(piece.bytes)));
  job.hash.Update(std::string_view(piece.bytes));
  job.offset += piece.bytes.size();
  if (job.offset < file.size) return OkStatus();
  if (job.hash.Finish() != file.digest) {
    return MakeError(ErrorCode::kData, fmt::format("blob {} came with other bytes", file.digest.hex()));
  }
  LORRY_TRY(job.writing->Commit());
  job.writing.reset();
  ++job.at;
  return OkStatus();
}

Status BlobMover::SendPiece(uint64_t offset) {
  const wire::BlobFile& file = jobs_.front()->files[jobs_.front()->at];
  std::ifstream in(BlobPath(home_, file.digest), std::ios::binary);
  in.seekg(static_cast<std::streamoff>(offset));
  std::string bytes(std::min<uint64_t>(wire::kBlobPieceBytes, file.size - std::min(offset, file.size)), '\0');
  if (bytes.empty() || !in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
    return MakeError(ErrorCode::kStorage, fmt::format("blob {} cannot be read at {}", file.digest.hex(), offset));
  }
  request_ = outbox_->Keep(wire::PutBlob{.digest = file.digest, .size = file.size, .offset = offset, .bytes = std::move(bytes)},
                           Epoch());
  return OkStatus();
}

bool BlobMover::OnMessage(const wire::Message& message) {
  if (request_ == 0 || message.header.request != request_) return false;
  outbox_->Answered(request_);
  request_ = 0;
  if (jobs_.front()->fetch) {
    const auto piece = wire::DecodeReply<wire::BlobPiece>(message);
    const Status taken = piece.ok() ? OnPiece(*piece) : Status(piece.error());
    if (taken.ok()) {
      Next();
    } else {
      End(taken);
    }
    return true;
  }
  const auto stored = wire::DecodeReply<wire::BlobStored>(message);
  if (!stored.ok()) {
    End(stored.error());
  } else if (stored->complete) {
    ++jobs_.front()->at;
    Next();
  } else if (const Status sent = SendPiece(stored->next_offset); !sent.ok()) {
    End(sent);
  }
  return true;
}

}  // namespace lorry
