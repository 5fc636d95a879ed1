// What `lorry show` and `lorry explain` print of an answer, also of one that lacks what they look for.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/run_text.h"

namespace lorry {
namespace {

using nlohmann::json;

TEST_CASE("show has a run's head, attempts with device time, files and job") {
  const json run = json::parse(R"({
    "run": "r-1", "name": "docs", "kind": "finetune", "project": "p", "state": "succeeded", "reason": "done", "done": 20, "total": 20,
    "submitted": "2026-11-21T10:00:00.000Z", "checkpoints": [{"step": 20, "path": "checkpoints/step-00000020", "sha256": "ab"}],
    "attempts": [{"attempt": 1, "worker": "w", "devices": ["w/cpu-0", "w/cpu-1"], "granted": "2026-11-21T10:00:00.000Z",
                  "ended": "2026-11-21T10:01:01.500Z", "reason": "node_lost", "class_ms": {"productive": 120000, "startup": 3000}},
                 {"attempt": 2, "worker": "w", "devices": ["w/cpu-0"], "granted": "2026-11-21T10:02:00.000Z", "ended": null, "reason": "", "class_ms": {}}],
    "inputs": [{"name": "train", "directory": false, "files": [{"path": "t.jsonl", "digest": "cd", "size": 1500}]}],
    "outputs": [], "result": {"adapter": "a/b@v3", "version": "v3"}, "job": {"kind": "finetune", "training": {"max_steps": 20}}})");
  const std::string text = ShowText(run);
  for (const char* part : {"r-1  docs\n", "state      succeeded (done)\n", "done       20 of 20\n", "checkpoint step 20\n",
                           "published  a/b@v3\n", "1m 01s", "node_lost", "productive 2m 00s, startup 3.0s", "still", "1.5 kB",
                           "\njob\n  kind: finetune\n  training:\n    max_steps: 20\n"}) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE("show and explain take an answer that says little, and let no control character through") {
  CHECK(ShowText(json::object()) == "  \n");
  CHECK(ExplainText(json::object()) == "nothing stands against it\n");
  CHECK(ExplainText({{"lines", {"waits for \x1b[31m2 GPUs", 7}}}).find('\x1b') == std::string::npos);
  CHECK(ShowText({{"attempts", "none"}, {"inputs", 3}, {"job", nullptr}}).find("ATTEMPT") == std::string::npos);
}

TEST_CASE("what a followed run shows: its newest metrics and dollars, and why it ended") {
  struct Row {
    const char* live_json;
    const char* usd;
    const char* text;
  };
  const std::vector<Row> rows = {
      {R"({"t":"step","step":3,"steps":60,"loss":2.31,"tokens":2048,"seconds":2.0})", "0.00210049",
       "loss 2.3100  1024 tokens/s  $0.002100"},
      {R"({"t":"eval","step":20,"loss":2.2,"tokens":9000})", "", "held-out loss 2.2000  "},
      {R"({"t":"progress","done":64,"total":100,"rows_per_minute":81.6})", "1", "82 rows/min  $1.000000"},
      {R"({"t":"step","loss":"high","tokens":5,"seconds":0})", "", ""},
      {"[", "?", ""},
      {"", "", ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.live_json);
    wire::RunSummary run;
    run.live_json = row.live_json;
    run.usd = row.usd;
    CHECK(LiveText(run) == row.text);
  }
  wire::RunSummary run;
  run.run = RunId("r-1");
  run.state = "failed";
  run.reason = "walltime";
  CHECK(StandingText(run) == "r-1 failed (walltime)");
  run.state = run.reason = "cancelled";
  run.detail = "by hand";
  CHECK(StandingText(run) == "r-1 cancelled: by hand");
  run = {};
  run.run = RunId("r-1");
  run.state = "succeeded";
  run.reason = "done";
  CHECK(StandingText(run) == "r-1 succeeded");
}

TEST_CASE("what lorry down waits for is counted, whatever it is") {
  CHECK(StoppingText(1) == "1 run has not stopped yet");
  CHECK(StoppingText(2) == "2 runs have not stopped yet");
}

}  // namespace
}  // namespace lorry
