// Arbitrary text as the body of an OpenAI row: a row to compute or a typed error, whose line is JSON.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "batch/row_lines.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tokenizer = lorry::Tokenizer::FromTokenizerJson(
      R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},)"
      R"("post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},)"
      R"("model":{"type":"BPE","vocab":{"h":0,"i":1},"merges":[]}})",
      "", "fuzz");
  if (!tokenizer.ok()) std::abort();
  lorry::BatchRow row{.index = 0, .line = 1, .id = "r", .form = lorry::BatchForm::kOpenAiCompletion, .prompt = "hi"};
  row.body.assign(reinterpret_cast<const char*>(data), size);
  const lorry::BatchRules rules{.model_names = {"m"}};
  const auto prepared = lorry::PrepareRow(row, rules, *tokenizer, nullptr);
  if (prepared.ok()) return lorry::CheckSampling(prepared->sampling).ok() ? 0 : (std::abort(), 1);
  if (!nlohmann::json::accept(lorry::ErrorLine("r", {1, row.form, ""}, prepared.error()))) std::abort();
  return 0;
}
