#include "scheduler/blob_desk.h"

#include <algorithm>

namespace lorry {

wire::BlobsPresent BlobDesk::Answer(const wire::HasBlobs& question) const {
  wire::BlobsPresent answer;
  for (const Digest& digest : question.digests) answer.present.push_back(Has(digest) ? 1 : 0);
  return answer;
}

Result<wire::BlobStored> BlobDesk::Put(const wire::PutBlob& piece) {
  LORRY_ASSIGN_OR_RETURN(const UploadState state, store_.PutPiece(piece.digest, piece.size, piece.offset, piece.bytes));
  return wire::BlobStored{state.next_offset, state.complete};
}

Result<wire::BlobPiece> BlobDesk::Get(const wire::GetBlob& question) const {
  wire::BlobPiece piece;
  LORRY_ASSIGN_OR_RETURN(piece.size, store_.SizeOf(question.digest));
  piece.offset = question.offset;
  LORRY_ASSIGN_OR_RETURN(piece.bytes,
                         store_.ReadPiece(question.digest, question.offset, std::min(question.max_bytes, wire::kBlobPieceBytes)));
  return piece;
}

}  // namespace lorry
