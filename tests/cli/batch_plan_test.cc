// What `lorry plan` says of a batch's rows, without a scheduler.
#include <algorithm>
#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "tests/batch/faulty_rows.h"
#include "tests/batch/tiny_model.h"
#include "tests/cli/lorry_call.h"

namespace lorry {
namespace {

using nlohmann::json;

class BatchPlan {
 public:
  BatchPlan() {
    WriteTinyModel(Path("model"));
    REQUIRE(MakeDirectories(Path("home")).ok());
    REQUIRE(WriteFileAtomically(Path("home") + "/rates.json", R"({"fp32_gflops": 50, "bf16_gflops": 50})").ok());
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  // `lorry plan` on a job of these rows; `more` are lines of its YAML.
  Outcome Plan(const std::string& rows, const std::string& more, const std::string& model) {
    REQUIRE(WriteFileAtomically(Path("rows.jsonl"), rows).ok());
    REQUIRE(WriteFileAtomically(Path("job.yaml"),
                                "kind: batch\nname: rows\nproject: docs\nmodel: " + model +
                                    "\ninput: rows.jsonl\noutput: out/\nsampling: {max_tokens: 4}\nresources: {cpus: 2}\n" + more)
                .ok());
    return Lorry({"plan", Path("job.yaml"), "--json"}, Path("home"));
  }
  json PlanOf(const std::string& rows, const std::string& more = "", const std::string& model = "./model") {
    const Outcome outcome = Plan(rows, more, model);
    INFO(outcome.err);
    REQUIRE(outcome.status == 0);
    return json::parse(outcome.out);
  }

 private:
  TempDirectory folder_;
};

TEST_CASE_METHOD(BatchPlan, "a batch's tokens are those that the rank will compute", "[plan]") {
  // "<s>user\nhi</s><s>assistant\n": a token for each byte, and one for each <s> and </s>.
  const int64_t chat = 20;
  struct Case {
    const char* row;
    const char* more;
    int64_t tokens;
  };
  const Case cases[] = {
      {R"({"prompt": "hi"})", "", 2 + 4},
      {R"({"messages": [{"role": "user", "content": "hi"}]})", "", chat + 4},
      {R"({"text": "hi"})", "prompt: \"{{ text }}\"\n", chat + 4},
      {R"({"custom_id": "a", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "hi"}]}})", "",
       chat + 4},
      {R"({"custom_id": "a", "url": "/v1/chat/completions", "body": {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}})",
       "", chat + 9},
      {R"({"custom_id": "a", "url": "/v1/completions", "body": {"max_tokens": 1000, "prompt": "hi"}})", "", 256},
  };
  for (const Case& c : cases) {
    CAPTURE(c.row);
    const json plan = PlanOf(std::string(c.row) + "\n", c.more);
    CHECK(plan["tokens"] == c.tokens);
    CHECK(plan.contains("wall_ms"));
    CHECK(plan["notes"].dump().find("time and cost") == std::string::npos);
  }
  const json nothing = PlanOf("{}\n{}\n");
  CHECK(nothing["faulty_rows"] == 2);
  CHECK(nothing["notes"].dump().find("no row can be computed") != std::string::npos);
}

TEST_CASE_METHOD(BatchPlan, "plan counts each row that will end in errors.jsonl", "[plan]") {
  const std::vector<RowCase> rows = FaultyRows();
  const auto with = [&rows](const std::string& code) {
    return std::count_if(rows.begin(), rows.end(), [&code](const RowCase& row) { return row.code == code; });
  };
  const auto faulty = static_cast<int64_t>(rows.size()) - with("");
  // A model that is a directory may be called by any name; of one that is not here no context is known.
  CHECK(PlanOf(TextOf(rows))["faulty_rows"] == faulty - with("model_not_found"));
  CHECK(PlanOf(TextOf(rows), "", "acme/tiny")["faulty_rows"] == faulty - with("context_length_exceeded") - with("empty_prompt"));
}

TEST_CASE_METHOD(BatchPlan, "a strict batch is refused with the place of each faulty row", "[plan]") {
  const std::vector<RowCase> rows = FaultyRows();
  const Outcome refused = Plan(TextOf(rows), "validation: strict\n", "./model");
  CHECK(refused.status == 2);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string code = rows[i].code, place = "\n" + Path("rows.jsonl") + ":" + std::to_string(i + 1) + ":";
    CAPTURE(rows[i].text);
    const size_t at = ("\n" + refused.err).find(place);
    CHECK((at != std::string::npos) == (!code.empty() && code != "model_not_found"));
    if (at == std::string::npos || code == "invalid_row") continue;
    CHECK(refused.err.substr(at + place.size() - 1).starts_with(" " + code + ": "));
  }
  CHECK(Plan(rows[0].text + "\n", "validation: strict\n", "./model").status == 0);
}

}  // namespace
}  // namespace lorry
