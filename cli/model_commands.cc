#include <memory>

#include "cli/command_groups.h"
#include "cli/inference.h"
#include "cli/merge_export.h"

namespace lorry {
namespace {

void AddScore(CommandSet& set) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App& score = AddCommand(set, set.app, "score", "log-probability of each row's completion, and perplexity",
                               "lorry score --model smollm2 --adapter acme/synopsis@prod --data valid.jsonl",
                               [options](Session& session) { return RunScoreCommand(session, *options); });
  score.add_option("--model", options->model, "registry name, directory or .gguf")->required();
  score.add_option("--adapter", options->adapter, "registry name or directory");
  score.add_option("--data", options->data, "training rows, JSON lines")->required()->check(CLI::ExistingFile);
  score.add_option("--dtype", options->dtype, "float32 (default) or bfloat16")->check(CLI::IsMember({"float32", "bfloat16"}));
  score.add_option("--loss-on", options->loss_on, "completion (default), assistant or all")
      ->check(CLI::IsMember({"completion", "assistant", "all"}));
}

void AddGenerate(CommandSet& set) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App& generate = AddCommand(set, set.app, "generate", "a model's answer to one prompt",
                                  "lorry generate --model smollm2 --prompt 'What is a linker?' --max-tokens 64",
                                  [options](Session& session) { return RunGenerateCommand(session, *options); });
  generate.add_option("--model", options->model, "registry name, directory or .gguf")->required();
  generate.add_option("--adapter", options->adapter, "registry name or directory");
  generate.add_option("--prompt", options->prompt, "the prompt")->required();
  generate.add_option("--dtype", options->dtype, "bfloat16 (default) or float32")->check(CLI::IsMember({"float32", "bfloat16"}));
  generate.add_option("--max-tokens", options->max_tokens, "of the answer (default 256)")->check(CLI::Range(1, 1048576));
  generate.add_option("--temperature", options->temperature, "0 (default): greedy")->check(CLI::Range(0.0, 2.0));
  generate.add_option("--top-p", options->top_p, "of the sampled probability (default 1)")->check(CLI::Range(0.0, 1.0));
  generate.add_option("--seed", options->seed, "of the sampling (default 0)");
  generate.add_option("--stop", options->stop, "a text that ends the answer; may be repeated")->allow_extra_args(false);
  generate.add_flag("--raw", options->raw, "the prompt as it is, without the chat template");
}

void AddTokenize(CommandSet& set) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& tokenize = AddCommand(set, set.app, "tokenize", "rendered text, token ids and loss mask of each line",
                                  "lorry tokenize --model smollm2 --file rows.jsonl --chat",
                                  [options](Session& session) { return RunTokenizeCommand(session, *options); });
  tokenize.add_option("--model", options->model, "registry name, directory or .gguf")->required();
  tokenize.add_option("--file", options->file, "JSON lines: rows, or texts in JSON's quotes (default: standard input)")
      ->check(CLI::ExistingFile);
  tokenize.add_flag("--chat", options->chat, "a text is one user turn");
  tokenize.add_option("--loss-on", options->loss_on, "completion (default), assistant or all")
      ->check(CLI::IsMember({"completion", "assistant", "all"}));
}

void AddEval(CommandSet& set) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App& eval = AddCommand(set, set.app, "eval", "a metric of an output against references, no model",
                              "lorry eval rouge --reference test.jsonl --output out/output.jsonl");
  CLI::App& rouge = AddCommand(set, eval, "rouge", "ROUGE-1, -2, -L and -Lsum",
                               "lorry eval rouge --reference test.jsonl --output out/output.jsonl --field synopsis",
                               [options](Session& session) { return RunEval(session, *options); });
  rouge.add_option("--reference", options->reference, "JSON lines with the reference texts")
      ->required()
      ->check(CLI::ExistingFile);
  rouge.add_option("--output", options->output, "output.jsonl of a batch, or JSON lines with output")
      ->required()
      ->check(CLI::ExistingFile);
  rouge.add_option("--field", options->field, "of the reference rows that holds the text");
}

void AddMerge(CommandSet& set) {
  auto options = std::make_shared<MergeOptions>();
  CLI::App& merge = AddCommand(set, set.app, "merge", "an adapter folded into its base becomes a model version",
                               "lorry merge acme/synopsis@prod --to acme/synopsis-merged --dtype bfloat16",
                               [options](Session& session) { return RunMerge(session, *options); });
  merge.add_option("adapter", options->adapter, "registry name, or a PEFT directory")->required();
  merge.add_option("--to", options->to, "ORG/NAME of the merged model")->required();
  merge.add_option("--base", options->base, "of a PEFT directory: the model that it was trained on");
  merge.add_option("--dtype", options->dtype, "float32, bfloat16 or float16 (default: as the base is stored)");
  merge.add_flag("--private", options->is_private, "strangers do not see it");
}

void AddExport(CommandSet& set) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App& command = AddCommand(set, set.app, "export", "a model or adapter as files for other programs",
                                 "lorry export acme/synopsis@prod --format gguf --type q8_0 --to for-llama-cpp",
                                 [options](Session& session) { return RunExport(session, *options); });
  command.add_option("source", options->source, "model or adapter: registry name, directory or .gguf")->required();
  command.add_option("--format", options->format, "peft (adapters), safetensors or gguf (an adapter is folded into its base)")
      ->required()
      ->check(CLI::IsMember({"peft", "safetensors", "gguf", "nf4"}));
  command.add_option("--to", options->to, "a folder that is not there, or empty")->required();
  command.add_option("--type", options->type, "of a GGUF's matrices: f16 (default), q8_0 or f32")
      ->check(CLI::IsMember({"f16", "q8_0", "f32"}));
  command.add_option("--dtype", options->dtype, "of safetensors: float32, bfloat16 or float16 (default: as stored)");
  command.add_option("--base", options->base, "of a PEFT directory: the model that it was trained on");
}

}  // namespace

void AddModelCommands(CommandSet& set) {
  AddScore(set);
  AddGenerate(set);
  AddTokenize(set);
  AddEval(set);
  AddMerge(set);
  AddExport(set);
}

}  // namespace lorry
