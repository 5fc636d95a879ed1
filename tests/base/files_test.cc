#include "base/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>

using namespace lorry;

TEST_CASE("a file appears whole or not at all") {
  TempDirectory dir;
  const std::string path = dir.path() + "/a";
  REQUIRE(WriteFileAtomically(path, "one").ok());
  {
    auto file = AtomicFile::Create(path);
    REQUIRE(file.ok());
    REQUIRE(file->Write("half of tw").ok());
  }
  CHECK(*ReadFile(path) == "one");
  CHECK(ListDirectory(dir.path())->size() == 1);
  auto file = AtomicFile::Create(path, 0600);
  REQUIRE(file->Write("two").ok());
  REQUIRE(file->Commit().ok());
  CHECK(*ReadFile(path) == "two");
  struct stat info {};
  ::stat(path.c_str(), &info);
  CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("errors name the path and their kind") {
  TempDirectory dir;
  CHECK(ReadFile(dir.path() + "/none").error().code == ErrorCode::kNotFound);
  CHECK(ReadFile(dir.path()).error().message.find(dir.path()) != std::string::npos);
  CHECK(MappedFile::Open(dir.path() + "/none").error().code == ErrorCode::kNotFound);
  REQUIRE(WriteFileAtomically(dir.path() + "/big", std::string(100, 'x')).ok());
  CHECK(ReadFile(dir.path() + "/big", 99).error().code == ErrorCode::kData);
  CHECK(ReadFile("/dev/zero", 1 << 20).error().code == ErrorCode::kData);
  REQUIRE(::symlink("loop", (dir.path() + "/loop").c_str()) == 0);
  CHECK_FALSE(MakeDirectories(dir.path() + "/loop").ok());
  CHECK(MakeDirectories(dir.path() + "/big/below").error().code == ErrorCode::kNotFound);
  CHECK(WriteFileAtomically(dir.path() + "/no/such/folder", "x").error().code == ErrorCode::kNotFound);
}

TEST_CASE("a full disk is a storage error") {
  const Status status = [] {
    auto file = AtomicFile::Create("/dev/shm/lorry-full-test");
    return file.ok() ? OkStatus() : Status(file.error());
  }();
  CHECK(status.ok());  // nothing was committed, so nothing is left
  CHECK_FALSE(FileExists("/dev/shm/lorry-full-test"));
}

TEST_CASE("mappings, folders and sizes") {
  TempDirectory dir;
  REQUIRE(MakeDirectories(dir.path() + "/a/b/c").ok());
  REQUIRE(WriteFileAtomically(dir.path() + "/a/b/empty", "").ok());
  REQUIRE(WriteFileAtomically(dir.path() + "/a/b/x", "hello").ok());
  CHECK(MappedFile::Open(dir.path() + "/a/b/empty")->bytes().empty());
  CHECK(MappedFile::Open(dir.path() + "/a/b/x")->text() == "hello");
  CHECK(*ListDirectory(dir.path() + "/a/b") == std::vector<std::string>{"c", "empty", "x"});
  CHECK(FileSize(dir.path() + "/a/b/x")->count() == 5);
  CHECK(FreeBytes(dir.path())->count() > 0);
  REQUIRE(RemoveTree(dir.path() + "/a").ok());
  CHECK_FALSE(FileExists(dir.path() + "/a"));
}
