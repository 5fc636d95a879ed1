#include "base/hash.h"

#include <catch2/catch.hpp>

#include "base/files.h"

using namespace lorry;

// FIPS 180-4's example, Git's own answer for "hello\n" (git hash-object), RFC 3720's CRC of 32 zero bytes.
TEST_CASE("digests equal the standards' examples") {
  CHECK(Sha256Of("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(GitBlobSha1("hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a");
  CHECK(Crc32c(std::string(32, '\0')) == 0x8A9136AAu);
  CHECK(Crc32c("6789", Crc32c("12345")) == Crc32c("123456789"));
  CHECK(Crc32c("123456789") == 0xE3069283u);
}

TEST_CASE("a file's digest is that of its bytes") {
  TempDirectory dir;
  const std::string bytes(3'000'000, 'q');
  REQUIRE(WriteFileAtomically(dir.path() + "/f", bytes).ok());
  CHECK(*Sha256OfFile(dir.path() + "/f") == Sha256Of(bytes));
  CHECK(Sha256OfFile(dir.path() + "/g").error().code == ErrorCode::kNotFound);
}

TEST_CASE("hex reads back, and nothing else does") {
  const Digest digest = Sha256Of("x");
  CHECK(*Digest::FromHex(digest.hex()) == digest);
  for (const char* bad : {"", "00", "zz"}) CHECK_FALSE(Digest::FromHex(bad).ok());
  std::string upper = digest.hex();
  upper[0] = 'A';
  CHECK_FALSE(Digest::FromHex(upper).ok());
}
