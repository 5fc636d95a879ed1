// Broken jobs and the exact lines they end in; a job read whole; --set; defaults and what follows from them.
#include <catch2/catch.hpp>

#include <string>

#include <nlohmann/json.hpp>

#include "configs/features.h"
#include "configs/job_file.h"
#include "configs/sweep.h"

namespace lorry {
namespace {

// A finetune job of 15 lines; tests change one line of it.
const char* const kJob =
    "kind: finetune\n"                     // 1
    "name: synopsis\n"                     // 2
    "project: docs\n"                      // 3
    "base_model: smollm2@v1\n"             // 4
    "dataset:\n"                           // 5
    "  path: data/train.jsonl\n"           // 6
    "  max_length: 1024\n"                 // 7
    "adapter:\n"                           // 8
    "  r: 16\n"                            // 9
    "training:\n"                          // 10
    "  epochs: 1\n"                        // 11
    "  learning_rate: 2.0e-4\n"            // 12
    "resources: {cpus: 2}\n"               // 13
    "output: {adapter: acme/synopsis}\n";  // 14

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

ParsedJob Parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return ParseJob(text, {"job.yaml", "/home/ann", overrides});
}

std::string ErrorsOf(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return FormatErrors(Parse(text, overrides).errors);
}

TEST_CASE("an adapter on a base in NF4 is asked for by its type", "[job]") {
  const ParsedJob parsed = Parse(Replaced(kJob, "  r: 16", "  type: qlora"));
  CHECK(FormatErrors(parsed.errors) == "");
  CHECK(parsed.spec->finetune()->adapter.type == AdapterType::kQlora);
  CHECK(ToJson(*parsed.spec)["adapter"]["type"] == "qlora");
}

TEST_CASE("a whole job is read with its defaults", "[job]") {
  const ParsedJob parsed = Parse(kJob);
  CHECK(FormatErrors(parsed.errors) == "");
  REQUIRE(parsed.spec.has_value());
  const FinetuneSpec& job = *parsed.spec->finetune();
  CHECK(parsed.spec->kind() == "finetune");
  CHECK(parsed.spec->project.str() == "docs");
  CHECK(job.base_model == "library/smollm2@v1");
  CHECK(job.dataset.path == "/home/ann/data/train.jsonl");
  CHECK(job.dataset.too_long == LengthPolicy::kError);
  CHECK(job.adapter.target_modules == std::vector<std::string>{"all-linear"});
  CHECK(job.training.learning_rate == 2e-4);
  CHECK(job.training.tokens_per_step == 2048);
  CHECK(job.output.adapter == "acme/synopsis");
  CHECK(parsed.spec->resources.Lanes() == 2);
  CHECK(parsed.spec->resources.Ranks() == 1);
  CHECK(parsed.spec->priority == 50);
  CHECK(parsed.positions.at("training.learning_rate").line == 12);
  CHECK(parsed.ErrorAt("dataset.path", ErrorCode::kSpec, "no such file").Format() == "job.yaml:6:9: dataset.path: no such file");
}

struct BrokenJob {
  const char* from;  // in kJob
  const char* to;
  const char* says;
};
const BrokenJob kBrokenJobs[] = {
    // unknown keys: an alias of the same section, a near spelling, another section, nothing near
    {"  r: 16", "  rank: 16", "job.yaml:9:3: adapter.rank: unknown key; here it is called \"r\"\n"},
    {"  r: 16", "  lora_alpha: 16", "job.yaml:9:3: adapter.lora_alpha: unknown key; here it is called \"alpha\"\n"},
    {"  learning_rate", "  learing_rate", "job.yaml:12:3: training.learing_rate: unknown key; did you mean \"learning_rate\"?\n"},
    {"  learning_rate", "  lr", "job.yaml:12:3: training.lr: unknown key; here it is called \"learning_rate\"\n"},
    {"  learning_rate: 2.0e-4", "  batch_size: 8",
     "job.yaml:12:3: training.batch_size: unknown key; here it is called \"rows_per_micro_batch\"\n"},
    {"resources:", "num_epochs: 3\nresources:",
     "job.yaml:13:1: num_epochs: unknown key; here it is called \"training.epochs\"\n"},
    {"resources:", "max_length: 3\nresources:", "job.yaml:13:1: max_length: unknown key; did you mean \"dataset.max_length\"?\n"},
    {"resources:", "frobnicate: 3\nresources:", "job.yaml:13:1: frobnicate: unknown key\n"},
    {"resources:", "prompt: x\nresources:", "job.yaml:13:1: prompt: unknown key\n"},
    {"training:\n", "trainig:\n",
     "job.yaml:1:1: training: neither epochs nor max_steps is given; one of them must be there\njob.yaml:10:1: trainig: unknown "
     "key; did you mean \"training\"?\n"},
    {"name: synopsis\n", "name: synopsis\nname: other\n",
     "job.yaml:3:1: name: repeated key; it stands on line 2 already; keep one of them\n"},
    // types and units
    {"epochs: 1", "epochs: \"1\"",
     "job.yaml:11:11: training.epochs: expected a whole number, found text \"1\"; take the quotes away\n"},
    {"epochs: 1", "epochs: 1.5", "job.yaml:11:11: training.epochs: expected a whole number, found 1.5\n"},
    {"epochs: 1", "epochs: yes",
     "job.yaml:11:11: training.epochs: yes is not a value of JSON; write true, false or null, or quote it where text is meant\n"},
    {"epochs: 1", "epochs: 1_000",
     "job.yaml:11:11: training.epochs: 1_000 is not a value of JSON; write a decimal number such as 10, 0.5 or 2e-4, or quote it "
     "where text is meant\n"},
    {"name: synopsis", "name: 5", "job.yaml:2:7: name: expected text, found 5; put it in quotes\n"},
    {"name: synopsis", "name:", "job.yaml:2:1: name: has no value; text is expected\n"},
    {"name: synopsis", "name: a b",
     "job.yaml:2:7: name: \"a b\" is not a name: letters, digits, . _ -, at most 96, the first a letter, digit or _\n"},
    {"  r: 16", "  r: [16]", "job.yaml:9:6: adapter.r: expected a whole number, found a list\n"},
    {"dataset:\n", "dataset: data/train.jsonl\nlabels:\n",
     "job.yaml:5:10: dataset: expected a mapping, found text \"data/train.jsonl\"\n"
     "job.yaml:8:15: labels.max_length: expected text, found 1024; put it in quotes\n"},
    {"resources:", "limits: {max_duration: 2}\nresources:",
     "job.yaml:13:24: limits.max_duration: expected a duration: a whole number above 0 and s, m, h or d, such as 90s or 2h, "
     "found 2; put it in quotes\n"},
    {"resources:", "limits: {max_duration: 2 hours}\nresources:",
     "job.yaml:13:24: limits.max_duration: \"2 hours\" is not a duration: a whole number above 0 and s, m, h or d, such as 90s "
     "or 2h\n"},
    {"resources:", "limits: {max_cost_usd: 1.0000000001}\nresources:",
     "job.yaml:13:24: limits.max_cost_usd: 1.0000000001 is not an amount of dollars; a decimal number from 0 on, with at most 9 "
     "decimals and no exponent\n"},
    {"{cpus: 2}", "{gpus: {min_memory: 24 gigs}}",
     "job.yaml:13:32: resources.gpus.min_memory: \"24 gigs\" is not a size: a whole number and KB, MB, GB or TB, such as 24GB\n"},
    {"{cpus: 2}", "{gpus: H100:x}",
     "job.yaml:13:19: resources.gpus: H100:x is not a number of GPUs; write gpus: 2, gpus: H100:8, or gpus: {min_memory: 24GB, "
     "count: 1}\n"},
    // ranges and words
    {"2.0e-4", "2", "job.yaml:12:18: training.learning_rate: 2 is outside 0 < x <= 1 (did you mean 2.0e-4?)\n"},
    {"2.0e-4", "0", "job.yaml:12:18: training.learning_rate: 0 is outside 0 < x <= 1\n"},
    {"  r: 16", "  r: 0", "job.yaml:9:6: adapter.r: 0 is outside 1..512\n"},
    {"max_length: 1024", "too_long: truncat",
     "job.yaml:7:13: dataset.too_long: \"truncat\" is none of error | truncate | drop; did you mean \"truncate\"?\n"},
    {"resources:", "priority: 101\nresources:", "job.yaml:13:11: priority: 101 is outside 0..100\n"},
    {"kind: finetune", "kind: fintune",
     "job.yaml:1:7: kind: \"fintune\" is none of finetune | batch | command | evaluate | pipeline; did you mean \"finetune\"?\n"},
    {"acme/synopsis", "api/synopsis",
     "job.yaml:14:19: output.adapter: \"api/synopsis\" is reserved: this organisation is one of Lorry's own paths\n"},
    {"acme/synopsis", "acme/synopsis.v2",
     "job.yaml:14:19: output.adapter: \"acme/synopsis.v2\" is reserved: names that end in .vN are versions\n"},
    {"smollm2@v1", "smollm2@main",
     "job.yaml:4:13: base_model: \"smollm2@main\" ends in neither a version (@v3) nor an alias (@prod)\n"},
    {"smollm2@v1", "smollm2@sha256:00",
     "job.yaml:4:13: base_model: \"smollm2@sha256:00\" ends in neither a version (@v3) nor an alias (@prod)\n"},
    {"smollm2@v1", "a/b/c",
     "job.yaml:4:13: base_model: \"a/b/c\" is neither a registry name (ORG/NAME@VERSION) nor a directory that exists\n"},
    // missing
    {"name: synopsis\n", "", "job.yaml:1:1: name: missing; this key is required\n"},
    {"kind: finetune\n", "", "job.yaml:1:1: kind: missing; one of finetune | batch | command | evaluate | pipeline\n"},
    {"  path: data/train.jsonl\n", "", "job.yaml:5:1: dataset.path: missing; this key is required\n"},
    {"output: {adapter: acme/synopsis}", "labels: {}", "job.yaml:1:1: output.adapter: missing; this key is required\n"},
    {"  epochs: 1\n", "", "job.yaml:11:3: training: neither epochs nor max_steps is given; one of them must be there\n"},
    // two ways of saying one thing; keys that need each other
    {"{cpus: 2}", "{cpus: 2, gpus: 1}",
     "job.yaml:13:19: resources.cpus: says the same thing as resources.gpus; keep one of them\n"},
    {"  epochs: 1", "  epochs: 1\n  tokens_per_step: 9\n  rows_per_micro_batch: 2",
     "job.yaml:13:25: training.rows_per_micro_batch: says the same thing as training.tokens_per_step; give tokens_per_step, or "
     "rows_per_micro_batch and micro_batches_per_step\n"},
    {"  max_length", "  validation: v.jsonl\n  val_fraction: 0.1\n  max_length",
     "job.yaml:8:17: dataset.val_fraction: says the same thing as dataset.validation; keep one of them\n"},
    {"  max_length", "  validation: ./data/../data/train.jsonl\n  max_length",
     "job.yaml:7:15: dataset.validation: is the training file itself; use other rows, or dataset.val_fraction\n"},
    {"  epochs: 1", "  epochs: 1\n  eval_every_steps: 5",
     "job.yaml:12:21: training.eval_every_steps: there is nothing to evaluate on; give dataset.validation or "
     "dataset.val_fraction\n"},
    {"{cpus: 2}", "{cpus: 3, threads_per_lane: 2}",
     "job.yaml:13:40: resources.threads_per_lane: 2 does not divide cpus 3; every lane has the same number of threads\n"},
    {"{cpus: 2}", "{cpus: 2, ranks: 3}",
     "job.yaml:13:29: resources.ranks: 3 does not divide 2 lanes; every rank drives the same number of lanes\n"},
    {"resources:", "after: [other, synopsis]\nresources:",
     "job.yaml:13:16: after[1]: a job cannot come after itself; name another run\n"},
    // known, and not in this version
    {"kind: finetune", "kind: pipeline",
     "job.yaml:1:7: kind: not in this version; \"pipeline\" is known, but not carried out yet\n"},
    {"  r: 16", "  rank_pattern: {down_proj: 0, up_proj: x}",
     "job.yaml:9:29: adapter.rank_pattern.down_proj: 0 is outside 1..512\n"
     "job.yaml:9:41: adapter.rank_pattern.up_proj: expected a whole number, found text \"x\"\n"},
    {"  r: 16", "  alpha_pattern: 8", "job.yaml:9:18: adapter.alpha_pattern: expected a mapping of names to numbers, found 8\n"},
    {"  r: 16", "  dora: true\n  dropout: 0.1",
     "job.yaml:10:12: adapter.dropout: together with adapter.dora is not in this version; only 0 is carried out\n"},
    {"{cpus: 2}", "{cpus: 2, nodes: 2}",
     "job.yaml:13:29: resources.nodes: not in this version; a run has the devices of one node\n"},
    {"resources:", "limits: {on_exceed: notify}\nresources:",
     "job.yaml:13:21: limits.on_exceed: not in this version; \"notify\" is known, but not carried out yet\n"},
};

TEST_CASE("one change to a job, and what is said", "[job]") {
  for (const BrokenJob& row : kBrokenJobs) {
    CAPTURE(row.from, row.to);
    CHECK(ErrorsOf(Replaced(kJob, row.from, row.to)) == row.says);
  }
}

TEST_CASE("every error is listed at once, in the order of the file", "[job]") {
  const std::string text = Replaced(Replaced(Replaced(kJob, "  r: 16", "  rank: 16"), "2.0e-4", "2"), "name: synopsis\n", "");
  CHECK(ErrorsOf(text) ==
        "job.yaml:1:1: name: missing; this key is required\n"
        "job.yaml:8:3: adapter.rank: unknown key; here it is called \"r\"\n"
        "job.yaml:11:18: training.learning_rate: 2 is outside 0 < x <= 1 (did you mean 2.0e-4?)\n");
}

TEST_CASE("the error text is bounded and shows no control characters", "[job]") {
  std::string text = kJob;
  for (int i = 0; i < 3000; ++i) text += "no_such_key_" + std::to_string(i) + ": 1\n";
  const std::string errors = ErrorsOf(text);
  CHECK(errors.size() <= 20'000);
  CHECK(errors.find("... and ") != std::string::npos);
  const std::string escaped = ErrorsOf(Replaced(kJob, "name: synopsis", "name: \"a\\e[31mb\""));
  CHECK(escaped.find('\x1b') == std::string::npos);
  CHECK(escaped.find("[31m") != std::string::npos);
}

TEST_CASE("--set changes one value and is named in its errors", "[job]") {
  const ParsedJob parsed = Parse(
      kJob, {"training.max_steps=10", "adapter.target_modules=[q_proj, v_proj]", "labels.team=search", "training.epochs=null"});
  CHECK(FormatErrors(parsed.errors) == "");
  REQUIRE(parsed.spec.has_value());
  CHECK(parsed.spec->finetune()->training.max_steps == 10);
  CHECK_FALSE(parsed.spec->finetune()->training.epochs.has_value());
  CHECK(parsed.spec->finetune()->adapter.target_modules.size() == 2);
  CHECK(parsed.spec->labels.at("team") == "search");
  CHECK(ErrorsOf(kJob, {"training.max_steps=ten"}) ==
        "--set training.max_steps: training.max_steps: expected a whole number, found text \"ten\"\n");
  CHECK(ErrorsOf(kJob, {"adapter.rank=4"}) == "--set adapter.rank: adapter.rank: unknown key; here it is called \"r\"\n");
  CHECK(ErrorsOf(kJob, {"max_steps"}) == "--set max_steps: no key or no value; write --set training.max_steps=10\n");
}

TEST_CASE("the other kinds", "[job]") {
  const std::string batch_text =
      "kind: batch\nname: b\nproject: docs\nmodel: smollm2\ninput: in.jsonl\nprompt: \"Say: {{ text }}\"\noutput: out/\n"
      "sampling: {max_tokens: 32, stop: [\"\\n\"]}\nrow_retry: {max_attempts: 5}\nexpires_after: 24h\n";
  const ParsedJob batch = Parse(batch_text + "resources: {cpus: 2}\n");
  CHECK(FormatErrors(batch.errors) == "");
  REQUIRE(batch.spec.has_value());
  CHECK(batch.spec->batch()->output == "/home/ann/out");
  CHECK(batch.spec->batch()->row_max_attempts == 5);
  CHECK(batch.spec->batch()->expires_after == Millis(86'400'000));
  CHECK(batch.spec->batch()->sampling.stop == std::vector<std::string>{"\n"});
  CHECK(ErrorsOf(batch_text + "resources: {gpus: 1}\n") ==
        "job.yaml:11:19: resources.gpus: a batch on GPUs is not in this version; use resources: {cpus: 2}\n");
  CHECK(ErrorsOf(batch_text).find("resources: a batch on GPUs is not in this version") != std::string::npos);
  const ParsedJob gpus = Parse("kind: command\nname: c\nproject: docs\nargv: [\"./run.sh\"]\nresources: {gpus: H100:8}\n");
  REQUIRE(gpus.spec.has_value());
  CHECK(gpus.spec->resources.gpus->count == 8);
  CHECK(gpus.spec->resources.gpus->kind == "H100");
  const ParsedJob command = Parse("kind: command\nname: c\nproject: docs\nargv: [\"./run.sh\", \"-v\"]\narray: 3\n");
  CHECK(FormatErrors(command.errors) == "");
  CHECK(command.spec->command()->argv == std::vector<std::string>{"/home/ann/run.sh", "-v"});
  CHECK(command.spec->resources.cpus == 1);
  CHECK(Parse("kind: command\nname: c\nproject: docs\nargv: [\":\"]\n").spec->command()->IsNoOp());
  CHECK(ErrorsOf("[1]") == "job.yaml:1:1: expected a mapping of keys, found a list; a job begins with kind: finetune\n");
}

TEST_CASE("JSON has the keys of the YAML and exact dollars", "[job]") {
  const ParsedJob parsed =
      Parse(Replaced(kJob, "resources:", "limits: {max_duration: 2h, max_cost_usd: 5.000000001}\nresources:"));
  REQUIRE(parsed.spec.has_value());
  const nlohmann::json json = ToJson(*parsed.spec);
  CHECK(json["limits"].dump() == R"({"max_cost_usd":"5.000000001","max_duration":"7200s","on_exceed":"checkpoint_and_stop"})");
  CHECK(json["training"]["tokens_per_step"] == 2048);
  CHECK(json["kind"] == "finetune");
  const auto again = JobFromJson(json);
  REQUIRE(again.ok());
  CHECK(again->limits.max_cost_usd == parsed.spec->limits.max_cost_usd);
  CHECK(JobFromJson(nlohmann::json{{"kind", "finetune"}}).error().message.find("name: missing") != std::string::npos);
}

constexpr const char* kSweep =
    "sweep:\n"
    "  space: {training.learning_rate: [1.0e-4, 2.0e-4], adapter.r: [8, 16, 32], training.lr_scheduler: [linear]}\n"
    "dataset:\n  validation: data/valid.jsonl\n";

TEST_CASE("a sweep is the grid of its lists, each point a job of its own", "[sweep]") {
  const ParsedJob parsed = Parse(Replaced(kJob, "dataset:\n", kSweep));
  CHECK(FormatErrors(parsed.errors) == "");
  REQUIRE(parsed.spec.has_value());
  const auto points = SweepPoints(ToJson(*parsed.spec));
  REQUIRE(points.ok());
  REQUIRE(points->size() == 6);
  CHECK(points->at(0).Label() == "adapter.r=8 training.learning_rate=0.0001 training.lr_scheduler=linear");
  CHECK(points->at(3).Label() == "adapter.r=16 training.learning_rate=0.0002 training.lr_scheduler=linear");
  const auto job = JobFromJson(points->at(3).job);
  REQUIRE(job.ok());
  CHECK_FALSE(job->finetune()->sweep.has_value());
  CHECK(job->finetune()->adapter.r == 16);
  CHECK(job->finetune()->training.learning_rate == 2e-4);
  CHECK(job->finetune()->training.lr_scheduler == LrScheduler::kLinear);
  CHECK(ToJson(*JobFromJson(ToJson(*parsed.spec))) == ToJson(*parsed.spec));

  const auto alone = SweepPoints(ToJson(*Parse(kJob).spec));
  REQUIRE(alone.ok());
  REQUIRE(alone->size() == 1);
  CHECK(alone->front().job == ToJson(*Parse(kJob).spec));
  CHECK(alone->front().values.empty());
}

TEST_CASE("what a sweep cannot be, and what is said", "[sweep]") {
  const std::string job = Replaced(kJob, "dataset:\n", kSweep);
  const BrokenJob rows[] = {
      {"adapter.r: [8, 16, 32]", "adapter.rr: [8]",
       "job.yaml:6:53: sweep.space.adapter.rr: a sweep cannot vary this; did you mean \"adapter.r\"?\n"},
      {"adapter.r: [8, 16, 32]", "adapter.r: [8, 600]",
       "job.yaml:6:68: sweep.space.adapter.r[1]: job: adapter.r: 600 is outside 1..512\n"},
      {"adapter.r: [8, 16, 32]", "adapter.r: [8, 16, 8]",
       "job.yaml:6:72: sweep.space.adapter.r[2]: stands in the list already\n"},
      {"adapter.r: [8, 16, 32]", "adapter.r: []", "job.yaml:6:64: sweep.space.adapter.r: the list is empty\n"},
      {"adapter.r: [8, 16, 32]", "adapter.r: 8", "job.yaml:6:64: sweep.space.adapter.r: expected a list of values, found 8\n"},
      {"adapter.r: [8, 16, 32]", "adapter.r: [[8]]",
       "job.yaml:6:65: sweep.space.adapter.r[0]: expected a number, true, false or a word, found a list\n"},
      {"  validation: data/valid.jsonl\n", "",
       "job.yaml:6:3: sweep: there is nothing to compare the points by; give dataset.validation or dataset.val_fraction\n"},
      {"sweep:\n", "sweep:\n  metric: rouge\n", "job.yaml:6:11: sweep.metric: \"rouge\" is none of eval_loss\n"},
      {"sweep:\n", "sweep:\n  method: random\n", "job.yaml:6:11: sweep.method: \"random\" is none of grid\n"},
  };
  for (const BrokenJob& row : rows) {
    CAPTURE(row.from, row.to);
    CHECK(ErrorsOf(Replaced(job, row.from, row.to)) == row.says);
  }
}

TEST_CASE("what is not built is listed in order", "[features]") {
  for (size_t i = 1; i < Features().size(); ++i) CHECK(Features()[i - 1].name < Features()[i].name);
  CHECK_FALSE(IsBuilt("kind pipeline"));
  CHECK_FALSE(IsBuilt("file costs.jsonl"));
  CHECK(IsBuilt("kind batch"));
}

}  // namespace
}  // namespace lorry
