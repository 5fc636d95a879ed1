#include "registry/blob_store.h"

#include <catch2/catch.hpp>

#include <filesystem>

#include "base/files.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

TEST_CASE("bytes get the name of their digest, once, read-only") {
  const TempDirectory home;
  const BlobStore blobs(home.path());
  const Result<StoredBlob> blob = blobs.PutBytes("hello");
  REQUIRE(blob.ok());
  CHECK(blob->digest == Sha256Of("hello"));
  CHECK(blobs.PathOf(blob->digest) == home.path() + "/blobs/sha256/2c/" + blob->digest.hex());
  CHECK(*ReadFile(blobs.PathOf(blob->digest)) == "hello");
  CHECK((fs::status(blobs.PathOf(blob->digest)).permissions() & fs::perms::owner_write) == fs::perms::none);
  CHECK(blobs.PutBytes("hello").ok());
  REQUIRE(WriteFileAtomically(home.path() + "/f", "hello").ok());
  CHECK(blobs.PutFile(home.path() + "/f")->digest == blob->digest);
  CHECK(blobs.PutFile(home.path() + "/absent").error().code == ErrorCode::kNotFound);
  CHECK(blobs.PutFile(home.path()).error().code == ErrorCode::kData);
  CHECK(ListDirectory(home.path() + "/blobs/uploads")->empty());
}

TEST_CASE("an upload goes on where it stopped, after a restart too") {
  const TempDirectory home;
  const std::string whole = "the whole of it";
  const Digest digest = Sha256Of(whole);
  {
    BlobStore blobs(home.path());
    CHECK(blobs.PutPiece(digest, whole.size(), 0, whole.substr(0, 6))->next_offset == 6);
    CHECK(blobs.PutPiece(digest, whole.size(), 0, whole.substr(0, 6))->next_offset == 6);  // sent again: not taken twice
    CHECK(blobs.PutPiece(digest, whole.size(), 9, "late")->next_offset == 6);              // a gap: not taken
    CHECK_FALSE(blobs.Has(digest));
  }
  BlobStore blobs(home.path());
  CHECK(blobs.PutPiece(digest, whole.size(), 0, "")->next_offset == 6);
  const Result<UploadState> done = blobs.PutPiece(digest, whole.size(), 6, whole.substr(6));
  CHECK((done->complete && done->next_offset == whole.size()));
  CHECK(*blobs.ReadPiece(digest, 4, 5) == "whole");
  CHECK(blobs.ReadPiece(digest, 100, 5)->empty());
  CHECK(blobs.PutPiece(digest, whole.size(), 0, whole)->complete);
  CHECK(blobs.PutPiece(Sha256Of(""), 0, 0, "")->complete);
}

TEST_CASE("an upload that is not what it was announced as is thrown away") {
  const TempDirectory home;
  BlobStore blobs(home.path());
  const Digest digest = Sha256Of("right");
  CHECK(blobs.PutPiece(digest, 5, 0, "wrong").error().code == ErrorCode::kData);
  CHECK(blobs.PutPiece(digest, 5, 0, "too long").error().code == ErrorCode::kData);
  CHECK(blobs.PutPiece(digest, 5, 0, "right")->complete);
}

TEST_CASE("a damaged blob is found") {
  const TempDirectory home;
  const BlobStore blobs(home.path());
  const Digest digest = blobs.PutBytes("good")->digest;
  CHECK(blobs.Verify(digest).ok());
  fs::permissions(blobs.PathOf(digest), fs::perms::owner_all);
  REQUIRE(WriteFileAtomically(blobs.PathOf(digest), "evil").ok());
  CHECK(blobs.Verify(digest).error().code == ErrorCode::kData);
  CHECK(blobs.Verify(Sha256Of("absent")).error().code == ErrorCode::kNotFound);
}

TEST_CASE("a version's files have relative names of plain parts") {
  for (const char* path : {"", "/abs", "../up", "a/../b", "a//b", "a/", ".hidden", "a\\b", "a\nb", "\xff"}) {
    CAPTURE(path);
    CHECK_FALSE(IsSafePath(path));
  }
  CHECK(IsSafePath("a/b.txt"));
  CHECK(IsSafePath("model-00001-of-00002.safetensors"));
}

}  // namespace
}  // namespace lorry
