#include "cli/inference.h"

#include <iostream>
#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "cli/engine_process.h"
#include "cli/model_source.h"
#include "model/format/tokenize_report.h"

namespace lorry {
namespace {

// --model DIR and, where there is one, --adapter DIR. The models live as long as `kept`.
Result<std::vector<std::string>> ModelArguments(Session& session, const std::string& model, const std::string& adapter,
                                                std::vector<LocalModel>& kept) {
  LORRY_ASSIGN_OR_RETURN(LocalModel base, FindModel(session, model));
  LORRY_TRY(CheckKind(base, model, ItemKind::kModel));
  std::vector<std::string> arguments = {"--model", base.path};
  kept.push_back(std::move(base));
  if (!adapter.empty()) {
    LORRY_ASSIGN_OR_RETURN(LocalModel found, FindModel(session, adapter));
    LORRY_TRY(CheckKind(found, adapter, ItemKind::kAdapter));
    LORRY_TRY(CheckTrainedOn(session, found, kept.front()));
    arguments.insert(arguments.end(), {"--adapter", found.path});
    kept.push_back(std::move(found));
  }
  return arguments;
}

}  // namespace

Result<int> RunScoreCommand(Session& session, const ScoreOptions& options) {
  std::vector<LocalModel> kept;
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> models, ModelArguments(session, options.model, options.adapter, kept));
  std::vector<std::string> arguments = {"score",       "--data",    options.data,    "--dtype",
                                        options.dtype, "--loss-on", options.loss_on, "--json"};
  arguments.insert(arguments.end(), models.begin(), models.end());
  int exit_status = 0;
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, AskEngine(arguments, exit_status));
  if (exit_status != 0) return exit_status;
  std::string text = "line  tokens  sum log-probability  mean\n";
  for (const auto& row : answer.at("rows")) {
    text += fmt::format("{:>4}  {:>6}  {:>19.6f}  {:.6f}\n", row.value("line", int64_t{0}), row.value("tokens", int64_t{0}),
                        row.value("sum_logprob", 0.0), row.value("mean_logprob", 0.0));
  }
  text += fmt::format("perplexity {:.6f} over {} tokens\n", answer.value("perplexity", 0.0), answer.value("tokens", int64_t{0}));
  session.terminal().Print(text);
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunGenerateCommand(Session& session, const GenerateOptions& options) {
  std::vector<LocalModel> kept;
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> models, ModelArguments(session, options.model, options.adapter, kept));
  std::vector<std::string> arguments = {"generate",
                                        "--prompt",
                                        options.prompt,
                                        "--max-tokens",
                                        std::to_string(options.max_tokens),
                                        "--temperature",
                                        fmt::format("{}", options.temperature),
                                        "--top-p",
                                        fmt::format("{}", options.top_p),
                                        "--seed",
                                        std::to_string(options.seed),
                                        "--json"};
  if (!options.dtype.empty()) arguments.insert(arguments.end(), {"--dtype", options.dtype});
  if (options.raw) arguments.push_back("--raw");
  for (const std::string& stop : options.stop) arguments.insert(arguments.end(), {"--stop", stop});
  arguments.insert(arguments.end(), models.begin(), models.end());
  int exit_status = 0;
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, AskEngine(arguments, exit_status));
  if (exit_status != 0) return exit_status;
  for (const auto& row : answer.at("rows")) {
    if (const auto error = row.find("error"); error != row.end() && !error->is_null()) {
      return MakeError(ErrorCode::kData, error->dump());
    }
    session.terminal().Print(row.value("output", "") + "\n");
  }
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunTokenizeCommand(Session& session, const TokenizeOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const LocalModel model, FindModel(session, options.model));
  if (FileExists(model.path + "/adapter_config.json")) LORRY_TRY(CheckKind(model, options.model, ItemKind::kModel));
  LORRY_ASSIGN_OR_RETURN(const TokenizeReport report, TokenizeReport::ForModel(model.path));
  EncodeRowOptions encode;
  LORRY_ASSIGN_OR_RETURN(encode.loss_on, ParseLossOn(options.loss_on));
  encode.file = options.file.empty() ? "standard input" : options.file;
  std::optional<LineReader> lines;
  if (options.file.empty()) {
    lines.emplace(LineReader::OverText({std::istreambuf_iterator<char>(std::cin), {}}, encode.file));
  } else {
    LORRY_ASSIGN_OR_RETURN(LineReader opened, LineReader::Open(options.file));
    lines.emplace(std::move(opened));
  }
  const bool json = session.terminal().json();
  std::string rows;  // with --json the document is whole or not there
  const Status read = report.TokenizeFile(*lines, options.chat, encode, [&](const TokenizedLine& line) {
    if (json) {
      rows += (rows.empty() ? "" : ",") + ToJsonLine(line);
    } else {
      session.terminal().PrintRaw(ToJsonLine(line) + "\n");
    }
  });
  if (!read.ok()) return read.error();
  if (json) session.terminal().PrintRaw("{\"rows\":[" + rows + "]}\n");
  return 0;
}

}  // namespace lorry
