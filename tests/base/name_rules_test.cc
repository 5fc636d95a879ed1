#include "base/name_rules.h"

#include <catch2/catch.hpp>

namespace lorry {
namespace {

TEST_CASE("names that Hugging Face clients accept, and no others") {
  CHECK(*FullName("smollm2") == "library/smollm2");
  CHECK(*FullName("acme/Debian_synopsis-2.x") == "acme/Debian_synopsis-2.x");
  for (const char* name : {"", "/", "a/", "/a", "a/b/c", "a b/c", "a/b--c", "a/b..c", "a/.b", "a/b-", "a/b.git", "api/x", "v1/x",
                           "runs/x", "readyz/x", "a/b.v3", "a/b.v0", "a/\xc3\xa9"}) {
    CAPTURE(name);
    CHECK(FullName(name).error().code == ErrorCode::kUsage);
  }
  CHECK_FALSE(FullName("a/" + std::string(97, 'x')).ok());
}

TEST_CASE("versions, commits and pinned names") {
  CHECK(ParseVersion("v12") == 12);
  for (const char* text : {"", "v", "v0", "v01", "12", "v1x", "V1", "v99999999999999999999"}) {
    CHECK_FALSE(ParseVersion(text).has_value());
  }
  CHECK(IsCommit(std::string(40, 'a')));
  CHECK_FALSE(IsCommit(std::string(40, 'A')));
  CHECK(ParsePinnedName("acme/x.v3")->name == "acme/x");
  CHECK(ParsePinnedName("acme/x.v3")->version == 3);
  CHECK_FALSE(ParsePinnedName("acme/x.v").has_value());
}

TEST_CASE("aliases may hold slashes, and are never mistaken for a revision of another sort") {
  for (const char* alias : {"prod", "prod/eu", "a.b_c-d"}) CHECK(CheckAlias(alias).ok());
  for (const std::string alias :
       {"", "main", "HEAD", "v3", "v0", "v01", "-a", "a/.b", "a//b", "/a", "a/", "a/..", "a b", "\xc3\xa9"}) {
    CHECK_FALSE(CheckAlias(alias).ok());
  }
  CHECK_FALSE(CheckAlias(std::string(40, 'a')).ok());
}

TEST_CASE("references") {
  CHECK(ParseReference("x@prod/eu")->name == "library/x");
  CHECK(ParseReference("x@prod/eu")->revision == "prod/eu");
  CHECK(ParseReference("a/x")->revision.empty());
  CHECK_FALSE(ParseReference("a/x@").ok());
}

}  // namespace
}  // namespace lorry
