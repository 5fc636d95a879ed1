// One message of each interesting shape, for the wire's tests and its fuzz corpus. The captures in tests/golden/wire were written
// by version 1.0 and must be read, and written again byte for byte, by every later 1.x.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/wire.h"

namespace lorry::wire {

inline Finished SampleFinished() {
  Finished finished;
  finished.attempt = {RunId("r-abcdefghijkl"), AttemptNumber(2), Epoch(41)};
  finished.reason = EndReason::kDataError;
  finished.error =
      ErrorDetail::Of(Error{ErrorCode::kData, "a row has no completion", "remove it", "train.jsonl", 17, 3, "completion"});
  finished.outputs = {{"adapter", true, {{"adapter_config.json", Sha256Of("x"), 700}}}};
  finished.first_span = 3;
  finished.spans = {{DeviceId("n1/cpu-0"), "cpu", UsageClass::kProductive, Instant(1000), Instant(2000)},
                    {DeviceId("n1/cpu-0"), "cpu", UsageClass::kDrain, Instant(2000), Instant(2500)}};
  finished.facts_json = "{}";
  return finished;
}

inline Submit SampleSubmit() {
  return {SubmissionId("s-1"), R"({"kind":"command"})", {{"train", false, {{"train.jsonl", Sha256Of("rows"), 123456789}}}}};
}

inline RowReports SampleRowReports() {
  return {{RunId("r-1"), AttemptNumber(1), Epoch(5)},
          {{RowIndex(9), RowState::kError, AttemptNumber(1), "attempts/1/shard-0", 100, 20, Sha256Of("row"), 117, 21, 850}}};
}

inline Hello SampleHello() {
  return {WorkerId("n1"),
          "boot-1",
          "0.1.0",
          "host",
          "home",
          {{DeviceId("GPU-1"), "H100", true, 80000000000u, "", "{}"}},
          {{RunId("r-1"), AttemptNumber(1), Epoch(5)}}};
}

struct Capture {
  std::string file;
  std::string bytes;
  std::function<bool(const std::string&)> reads;
};

template <class Body>
Capture CaptureOf(const std::string& file, const Body& body) {
  Header header;
  header.session = 0x0102030405060708;
  header.request = 11;
  return {file, EncodeMessage(header, body), [](const std::string& bytes) {
            auto message = ParseMessage(bytes);
            return message.ok() && DecodeBody<Body>(*message).ok();
          }};
}

inline std::vector<Capture> Captures() {
  return {CaptureOf("v1.0-finished.bin", SampleFinished()), CaptureOf("v1.0-submit.bin", SampleSubmit()),
          CaptureOf("v1.0-row-reports.bin", SampleRowReports()), CaptureOf("v1.0-hello.bin", SampleHello())};
}

}  // namespace lorry::wire
