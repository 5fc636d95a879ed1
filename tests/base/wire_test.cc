#include "base/wire.h"

#include <catch2/catch.hpp>

#include "base/files.h"
#include "tests/base/wire_samples.h"

namespace lorry::wire {
namespace {

TEST_CASE("a message comes back as it was sent") {
  Header header;
  header.session = 7;
  header.epoch = 8;
  header.sequence = 9;
  header.request = 10;
  const std::string bytes = EncodeMessage(header, SampleFinished());
  auto message = ParseMessage(bytes);
  REQUIRE(message.ok());
  CHECK(message->header.type == Type::kFinished);
  CHECK(message->header.session == 7);
  CHECK(message->header.epoch == 8);
  CHECK(message->header.sequence == 9);
  CHECK(message->header.request == 10);
  auto finished = DecodeBody<Finished>(*message);
  REQUIRE(finished.ok());
  CHECK(finished->attempt == SampleFinished().attempt);
  CHECK(finished->reason == EndReason::kDataError);
  CHECK(finished->error.ToError().Format() == SampleFinished().error.ToError().Format());
  REQUIRE(finished->outputs.size() == 1);
  CHECK(finished->outputs[0].files[0].digest == Sha256Of("x"));
  REQUIRE(finished->spans.size() == 2);
  CHECK(finished->spans[1].usage_class == UsageClass::kDrain);
  CHECK(finished->spans[1].t1 == Instant(2500));
  CHECK(EncodeMessage(header, *finished) == bytes);
}

// Not a test: writes the captures of this version, once, when a version is released.
TEST_CASE("write the captures", "[.write]") {
  for (const Capture& capture : Captures()) REQUIRE(WriteFileAtomically("tests/golden/wire/" + capture.file, capture.bytes).ok());
}

TEST_CASE("captures of released versions are still read") {
  for (const Capture& capture : Captures()) {
    CAPTURE(capture.file);
    auto stored = ReadFile("tests/golden/wire/" + capture.file);
    REQUIRE(stored.ok());
    CHECK(ToHex(*stored) == ToHex(capture.bytes));
    CHECK(capture.reads(*stored));
  }
}

TEST_CASE("fields that a later minor version appends are skipped, and those that an older one lacks keep their defaults") {
  std::string longer = EncodeMessage(Header{}, CancelRun{RunId("r-1"), true, "why"});
  longer += "what a later version says";
  PatchBodyLength(&longer);
  auto cancel = DecodeBody<CancelRun>(*ParseMessage(longer));
  REQUIRE(cancel.ok());
  CHECK(cancel->now);

  std::string shorter = EncodeMessage(Header{}, CancelRun{RunId("r-1"), true, "why"});
  shorter.resize(shorter.size() - 7 - 1);  // without `why` and `now`
  PatchBodyLength(&shorter);
  cancel = DecodeBody<CancelRun>(*ParseMessage(shorter));
  REQUIRE(cancel.ok());
  CHECK(cancel->run == RunId("r-1"));
  CHECK_FALSE(cancel->now);
}

TEST_CASE("what is not a message of this version is refused in words") {
  std::string other = EncodeMessage(Header{}, Ping{});
  other[4] = 2;
  CHECK(ParseMessage(other).error().message == "the other side speaks version 2.0 of Lorry's messages, this program 1.0");
  CHECK(ParseMessage("GET / HTTP/1.1").error().message == "14 bytes that are not a message of Lorry's");
  const std::string whole = EncodeMessage(Header{}, CancelRun{RunId("r-1"), true, "why"});
  for (size_t size = 0; size < whole.size(); ++size) CHECK_FALSE(ParseMessage(whole.substr(0, size)).ok());
  CHECK(DecodeBody<Submit>(*ParseMessage(whole)).error().message == "expected a submit message, got cancel_run (type 0x0109)");
}

TEST_CASE("a body that lies about its lengths is refused, not believed") {
  std::string bytes = EncodeMessage(Header{}, HasBlobs{{Sha256Of("a")}});
  bytes[kHeaderBytes] = '\xff';
  bytes[kHeaderBytes + 3] = '\x7f';
  CHECK(DecodeBody<HasBlobs>(*ParseMessage(bytes)).error().message ==
        "malformed has_blobs message: a list is longer than its message");
  std::string flag = EncodeMessage(Header{}, CancelRun{RunId("r"), true, ""});
  flag[kHeaderBytes + 5] = 7;
  CHECK(DecodeBody<CancelRun>(*ParseMessage(flag)).error().message == "malformed cancel_run message: a flag is neither 0 nor 1");
}

}  // namespace
}  // namespace lorry::wire
