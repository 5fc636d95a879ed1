// lorry-batch: one inference engine process. Under a worker `--task PATH`; as a child of `lorry` one of the sub-commands.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "batch/batch_task.h"
#include "batch/commands.h"
#include "batch/model_export.h"

namespace {

using lorry::CommandOptions;

void AddModelOptions(CLI::App& command, CommandOptions& options) {
  command.add_option("--model", options.model.directory, "model directory, as Hugging Face lays it out")->required();
  command.add_option("--adapter", options.model.adapter, "adapter directory, as PEFT writes it");
  command.add_option("--dtype", options.model.dtype, "bfloat16 or float32")->check(CLI::IsMember({"bfloat16", "float32"}));
  command.add_flag("!--separate", options.model.merge, "compute the adapter beside the weights, do not merge it");
  command.add_option("--threads", options.threads, "threads of a lane; 0: all cores");
  command.add_flag("--json")->description("one JSON document on standard output: the only form there is");
}

void AddGenerateOptions(CLI::App& command, CommandOptions& options) {
  command.add_option("--prompt", options.prompt, "one prompt");
  command.add_option("--data", options.data, "batch rows, JSON lines");
  command.add_option("--prompt-template", options.prompt_template, "makes a row's prompt from its fields");
  command.add_flag("--raw", options.raw, "the prompt as it is, without the chat template");
  command.add_option("--max-tokens", options.sampling.max_tokens);
  command.add_option("--temperature", options.sampling.temperature, "0: greedy");
  command.add_option("--top-p", options.sampling.top_p);
  command.add_option("--top-k", options.sampling.top_k);
  command.add_option("--seed", options.sampling.seed);
  command.add_option("--stop", options.sampling.stop, "texts that end the answer");
  command.add_option("--max-rows", options.max_rows, "rows computed at the same time")->check(CLI::Range(1, 65536));
  command.add_option("--lanes", options.lanes, "engines side by side")->check(CLI::Range(1, 4096));
  command.add_option("--tokens-per-step", options.tokens_per_step)->check(CLI::Range(1, 1048576));
}

int Exit(const lorry::Status& status) {
  if (status.ok()) return 0;
  std::cerr << "lorry-batch: " << status.error().Format() << "\n";
  return lorry::ExitStatusOf(status.error().code);
}

// For `lorry`, which shows the error as its own: {error: {code, message, hint, file, line, key}} in place of the document.
int ExitWithDocument(const lorry::Status& status) {
  if (status.ok()) return 0;
  const lorry::Error& error = status.error();
  const nlohmann::json document = {{"code", lorry::ErrorCodeName(error.code)},
                                   {"message", error.message},
                                   {"hint", error.hint},
                                   {"file", error.file},
                                   {"line", error.line},
                                   {"key", error.key}};
  std::cout << nlohmann::json{{"error", document}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  return lorry::ExitStatusOf(error.code);
}

void AddExportOptions(CLI::App& command, lorry::ModelExportOptions& options) {
  command.add_option("--model", options.model, "model directory, as Hugging Face lays it out")->required();
  command.add_option("--adapter", options.adapter, "adapter directory, as PEFT writes it: folded in");
  command.add_option("--format", options.format, "safetensors, gguf or nf4")
      ->required()
      ->check(CLI::IsMember({"safetensors", "gguf", "nf4"}));
  command.add_option("--dtype", options.dtype, "of safetensors: float32, bfloat16 or float16 (default: as the model)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command.add_option("--type", options.gguf_type, "of a GGUF's matrices: f32, f16 or q8_0")
      ->check(CLI::IsMember({"f32", "f16", "q8_0"}));
  command.add_option("--name", options.name, "a GGUF's general.name");
  command.add_option("--out", options.out, "an empty directory, or the GGUF file")->required();
  command.add_flag("--json")->description("one JSON document on standard output: the only form there is");
}

int RunExport(const lorry::ModelExportOptions& options) {
  const lorry::Result<int64_t> adapted = lorry::RunModelExport(options);
  if (!adapted.ok()) return ExitWithDocument(adapted.error());
  std::cout << nlohmann::json{{"adapted", *adapted}} << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Every step takes and gives back the same tens of megabytes: kept, they need not be cleared by the kernel each time.
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  CLI::App app{"Batch inference on one device. Example: lorry-batch generate --model DIR --prompt 'What is a linker?'",
               "lorry-batch"};
  app.set_version_flag("--version", std::string("lorry-batch ") + LORRY_VERSION);
  std::string task;
  app.add_option("--task", task, "task.json of an attempt");
  CommandOptions options;
  auto* score = app.add_subcommand("score", "log-probabilities of each row's completion");
  AddModelOptions(*score, options);
  score->add_option("--data", options.data, "training rows, JSON lines")->required();
  score->add_option("--loss-on", options.loss_on, "completion, assistant or all");
  score->add_option("--max-length", options.max_length);
  auto* generate = app.add_subcommand("generate", "answers to prompts");
  AddModelOptions(*generate, options);
  AddGenerateOptions(*generate, options);
  auto* logits = app.add_subcommand("logits", "the logits of every position");
  AddModelOptions(*logits, options);
  logits->add_option("--data", options.data, "JSON lines with ids or text")->required();
  logits->add_option("--out", options.out, "file for the numbers, fp32")->required();
  auto* tokenize = app.add_subcommand("tokenize", "rendered text, token ids and loss mask of each line");
  AddModelOptions(*tokenize, options);
  tokenize->add_option("--data", options.data, "JSON lines")->required();
  tokenize->add_flag("--chat", options.chat, "a string is one user turn");
  tokenize->add_option("--loss-on", options.loss_on, "completion, assistant or all");
  lorry::ModelExportOptions export_options;
  auto* exported = app.add_subcommand("export", "writes a model, with an adapter folded in or not");
  AddExportOptions(*exported, export_options);
  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : lorry::ExitStatusOf(lorry::ErrorCode::kUsage);
  }
  if (!task.empty()) return static_cast<int>(lorry::RunTask(task));
  if (*score) return Exit(lorry::RunScore(options));
  if (*generate) return Exit(lorry::RunGenerate(options));
  if (*logits) return Exit(lorry::RunLogits(options));
  if (*tokenize) return Exit(lorry::RunTokenize(options));
  if (*exported) return RunExport(export_options);
  return Exit(lorry::MakeError(lorry::ErrorCode::kUsage, "neither --task nor a command is given",
                               "lorry-batch --help lists the commands"));
}
