// What `lorry model show` and `lorry model verify` print of an answer, also of one that lacks what they look for.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/registry_text.h"

namespace lorry {
namespace {

using nlohmann::json;

TEST_CASE("a name is shown with its aliases and a line for each version") {
  const json name = json::parse(R"({"kind": "adapter", "name": "a/b", "private": true, "aliases": {"prod": "v2"}, "versions": [
    {"version": "v1", "digest": "0123456789abcdef0123456789abcdef", "created": "2026-11-21T10:00:00.000Z", "base": "a/m@v1", "run": "r-1",
     "cost_usd": "0.002", "source": "out/", "by": "ann@desk", "files": [{"path": "x", "size": 1000}, {"path": "y", "size": 500}]},
    {"version": "v2", "digest": "ff", "base": null, "run": null, "cost_usd": null, "files": []}], "alias_log": [
    {"alias": "prod", "version": "v1", "at": "2026-11-21T10:00:01.000Z", "by": "ann@desk", "reason": "first"},
    {"alias": "old", "version": null, "at": "2026-11-21T10:00:02.000Z", "by": "", "reason": ""}]})");
  CHECK(NameText(name) ==
        "adapter a/b (private)\n"
        "alias prod = v2\n"
        "VERSION  DIGEST            CREATED                   FILES  SIZE    BASE    RUN  DOLLARS  SOURCE  BY\n"
        "v1       0123456789abcdef  2026-11-21T10:00:00.000Z  2      1.5 kB  a/m@v1  r-1  0.002    out/    ann@desk\n"
        "v2       ff                -                         0      0 B     -       -    -        -       -\n"
        "2026-11-21T10:00:01.000Z alias prod = v1, by ann@desk: first\n"
        "2026-11-21T10:00:02.000Z alias old = -\n");
  CHECK(NameText(json::object()) == " \nno versions\n");
}

TEST_CASE("a verdict names the broken file") {
  const json verdict = json::parse(R"({"reference": "a/b@v1", "whole": false, "files": [
    {"path": "x", "digest": "ab", "whole": true}, {"path": "y", "digest": "cd", "whole": false, "fault": "is missing"}]})");
  CHECK(VerdictText(verdict) ==
        "ok      x  ab  \n"
        "BROKEN  y  cd  is missing\n"
        "a/b@v1 is not whole\n");
}

}  // namespace
}  // namespace lorry
