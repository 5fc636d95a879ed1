#include "batch/commands.h"

#include <chrono>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/files.h"
#include "base/json.h"
#include "batch/engine.h"
#include "batch/row_cursor.h"
#include "batch/row_lines.h"
#include "model/format/rows.h"
#include "model/format/tokenize_report.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr int64_t kPieceTokens = 256;  // read at once where the logits of all positions are wanted

void Print(const json& document) { std::cout << document.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl; }

int ThreadsOf(const CommandOptions& options) {
  return options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
}

Result<LoadedModel> Load(const CommandOptions& options) {
  SetLaneThreads(ThreadsOf(options));
  LORRY_ASSIGN_OR_RETURN(LoadedModel model, LoadModel(options.model));
  if (options.model.dtype == "bfloat16" && model.dtype != "bfloat16") {
    std::cerr << "lorry-batch: this CPU has no AVX-512 BF16: computing in " << model.dtype << "\n";
  }
  return model;
}

// Reads `ids` from the start and gives the logits of each position that is wanted, in order, to `each`: others never meet the
// head.
Status ForEachPosition(DecodeModel& model, std::span<const TokenId> ids, const std::function<bool(int64_t)>& wanted,
                       const std::function<Status(int64_t, LogitsRow)>& each) {
  const auto length = static_cast<int64_t>(ids.size());
  if (length == 0 || length > model.max_positions()) {
    return MakeError(ErrorCode::kData, "a row has " + std::to_string(length) + " tokens; the model's context is " +
                                           std::to_string(model.max_positions()));
  }
  for (const TokenId id : ids) {
    if (id < 0 || id >= model.vocab_size()) {
      return MakeError(ErrorCode::kData, "token id " + std::to_string(id) + " is outside the model's vocabulary");
    }
  }
  const auto sequence = model.NewSequence(length);
  for (int64_t begin = 0; begin < length; begin += kPieceTokens) {
    const int64_t tokens = std::min(kPieceTokens, length - begin);
    SequencePiece piece{sequence.get(), ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(tokens)), {}};
    for (int64_t t = 0; t < tokens; ++t) {
      if (wanted(begin + t)) piece.logits_at.push_back(static_cast<int32_t>(t));
    }
    LORRY_ASSIGN_OR_RETURN(const auto rows, model.Read(std::span(&piece, 1)));
    for (size_t i = 0; i < rows.size(); ++i) LORRY_TRY(each(begin + piece.logits_at[i], rows[i]));
  }
  return OkStatus();
}

// Computes the feed's rows on as many lanes as asked for; results come to `sink` one at a time.
Result<EngineCounters> RunLanes(const CommandOptions& options, const LoadedModel& model, RowFeed& feed,
                                const Engine::Sink& sink) {
  EngineOptions engine_options;
  engine_options.max_rows = options.max_rows;
  engine_options.tokens_per_step = options.tokens_per_step;
  engine_options.end_tokens = model.end_tokens;
  std::mutex mutex;
  EngineCounters total;
  Status failed = OkStatus();
  std::vector<std::thread> lanes;
  for (int lane = 0; lane < options.lanes; ++lane) {
    lanes.emplace_back([&] {
      SetLaneThreads(ThreadsOf(options));
      const auto lane_model = model.new_lane();
      Engine engine(*lane_model, engine_options, [&model](TokenId id) { return model.tokenizer.TokenBytes(id); });
      const Status status = engine.Run(feed, [&](EngineResult result) {
        const std::lock_guard lock(mutex);
        sink(std::move(result));
      });
      const std::lock_guard lock(mutex);
      if (!status.ok()) failed = status;
      total.steps += engine.counters().steps;
      total.prompt_tokens_read += engine.counters().prompt_tokens_read;
      total.prompt_tokens_reused += engine.counters().prompt_tokens_reused;
      total.tokens_written += engine.counters().tokens_written;
    });
  }
  for (std::thread& lane : lanes) lane.join();
  LORRY_TRY(failed);
  return total;
}

Result<json> GenerateAll(const CommandOptions& options, const LoadedModel& model, std::vector<BatchRow> rows) {
  const BatchRules rules{options.sampling, {}};
  LORRY_TRY(CheckSampling(options.sampling));
  RowFeed feed;
  std::map<int64_t, json> lines;
  for (const BatchRow& row : rows) {
    auto prepared = PrepareRow(row, rules, model.tokenizer, model.chat());
    if (!prepared.ok()) {
      lines[row.index] = {{"id", row.id},
                          {"output", nullptr},
                          {"error", {{"code", RowErrorCode(prepared.error())}, {"message", prepared.error().message}}}};
      continue;
    }
    feed.Push(std::move(prepared).value());
  }
  feed.Close();
  const auto begin = std::chrono::steady_clock::now();
  LORRY_ASSIGN_OR_RETURN(
      const EngineCounters counters, RunLanes(options, model, feed, [&](EngineResult result) {
        json line = {{"id", result.row.id},
                     {"error", nullptr},
                     {"tokens", result.tokens},
                     {"usage", {{"prompt_tokens", result.row.prompt.size()}, {"completion_tokens", result.tokens.size()}}},
                     {"finish_reason", result.finish == FinishReason::kStop ? "stop" : "length"},
                     {"output", CompletionText(result, model.tokenizer)}};
        if (result.error) line["error"] = {{"code", RowErrorCode(*result.error)}, {"message", result.error->message}};
        lines[result.row.index] = std::move(line);
      }));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  json document = {{"rows", json::array()}, {"seconds", seconds}, {"dtype", model.dtype}};
  for (auto& [index, line] : lines) document["rows"].push_back(std::move(line));
  document["counters"] = {{"steps", counters.steps},
                          {"prompt_tokens_read", counters.prompt_tokens_read},
                          {"prompt_tokens_reused", counters.prompt_tokens_reused},
                          {"tokens_written", counters.tokens_written}};
  return document;
}

}  // namespace

Status RunScore(const CommandOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const LossOn loss_on, ParseLossOn(options.loss_on));
  LORRY_ASSIGN_OR_RETURN(RowReader reader, RowReader::Open(options.data));
  LORRY_ASSIGN_OR_RETURN(const LoadedModel model, Load(options));
  const auto lane = model.new_lane();
  EncodeRowOptions encode;
  encode.loss_on = loss_on;
  encode.max_length = options.max_length > 0 ? options.max_length : lane->max_positions();
  encode.file = options.data;
  json document = {{"rows", json::array()}, {"dtype", model.dtype}};
  int64_t all_tokens = 0;
  double all_logprob = 0;
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const auto row, reader.Next());
    if (!row) break;
    LORRY_ASSIGN_OR_RETURN(const EncodedRow encoded, EncodeTrainRow(*row, model.tokenizer, model.chat(), encode));
    int64_t tokens = 0;
    double logprob = 0;
    const auto counts = [&encoded](int64_t position) {
      const auto next = static_cast<size_t>(position) + 1;
      return next < encoded.ids.size() && encoded.loss_mask[next] != 0;
    };
    LORRY_TRY(ForEachPosition(*lane, encoded.ids, counts, [&](int64_t position, LogitsRow logits) {
      logprob += LogProbability(logits, encoded.ids[static_cast<size_t>(position) + 1]);
      ++tokens;
      return OkStatus();
    }));
    document["rows"].push_back({{"line", row->line},
                                {"tokens", tokens},
                                {"sum_logprob", logprob},
                                {"mean_logprob", tokens > 0 ? logprob / static_cast<double>(tokens) : 0.0}});
    all_tokens += tokens;
    all_logprob += logprob;
  }
  if (all_tokens == 0) return MakeError(ErrorCode::kData, options.data + ": no row has a token to score");
  const double mean = all_logprob / static_cast<double>(all_tokens);
  document["tokens"] = all_tokens;
  document["sum_logprob"] = all_logprob;
  document["mean_logprob"] = mean;
  document["perplexity"] = std::exp(-mean);
  Print(document);
  return OkStatus();
}

Status RunGenerate(const CommandOptions& options) {
  std::vector<BatchRow> rows;
  if (!options.data.empty()) {
    LORRY_ASSIGN_OR_RETURN(auto reader, BatchRowReader::Open(options.data, options.prompt_template));
    while (true) {
      LORRY_ASSIGN_OR_RETURN(auto row, reader.Next());
      if (!row) break;
      rows.push_back(std::move(*row));
    }
  } else {
    rows.push_back({.id = "prompt", .form = options.raw ? BatchForm::kPrompt : BatchForm::kTemplate, .prompt = options.prompt});
  }
  LORRY_ASSIGN_OR_RETURN(const LoadedModel model, Load(options));
  LORRY_ASSIGN_OR_RETURN(const json document, GenerateAll(options, model, std::move(rows)));
  Print(document);
  return OkStatus();
}

namespace {

// {"ids": [...]} or {"text": "..."}.
Result<std::vector<TokenId>> IdsOf(const json& input, const Tokenizer& tokenizer, const std::string& file, int64_t line) {
  const Error fault{
      ErrorCode::kData, "{\"ids\": [...]} or {\"text\": \"...\"} is expected", "", file, static_cast<int>(line), 0, ""};
  if (!input.is_object()) return fault;
  if (const auto text = input.find("text"); text != input.end() && text->is_string()) {
    return tokenizer.Encode(text->get<std::string>(), true);
  }
  const auto list = input.find("ids");
  if (list == input.end() || !list->is_array()) return fault;
  std::vector<TokenId> ids;
  for (const json& id : *list) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<TokenId>::max()) return fault;
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

}  // namespace

Status RunLogits(const CommandOptions& options) {
  LORRY_ASSIGN_OR_RETURN(LineReader lines, LineReader::Open(options.data));
  LORRY_ASSIGN_OR_RETURN(const LoadedModel model, Load(options));
  const auto lane = model.new_lane();
  LORRY_ASSIGN_OR_RETURN(AtomicFile out, AtomicFile::Create(options.out));
  json document = {{"vocab_size", lane->vocab_size()}, {"rows", json::array()}, {"dtype", model.dtype}};
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const auto line, lines.Next());
    if (!line) break;
    LORRY_ASSIGN_OR_RETURN(const json input, ParseJson(line->text));
    LORRY_ASSIGN_OR_RETURN(const std::vector<TokenId> ids, IdsOf(input, model.tokenizer, lines.name(), line->number));
    const auto all = [](int64_t) { return true; };
    LORRY_TRY(ForEachPosition(*lane, ids, all, [&](int64_t, LogitsRow logits) { return out.Write(std::as_bytes(logits)); }));
    document["rows"].push_back(ids.size());
  }
  LORRY_TRY(out.Commit());
  Print(document);
  return OkStatus();
}

Status RunTokenize(const CommandOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const auto report, TokenizeReport::ForModel(options.model.directory));
  LORRY_ASSIGN_OR_RETURN(LineReader lines, LineReader::Open(options.data));
  EncodeRowOptions encode;
  LORRY_ASSIGN_OR_RETURN(encode.loss_on, ParseLossOn(options.loss_on));
  std::cout << "{\"rows\":[";
  bool first = true;
  LORRY_TRY(report.TokenizeFile(lines, options.chat, encode, [&first](const TokenizedLine& line) {
    std::cout << (first ? "" : ",") << ToJsonLine(line);
    first = false;
  }));
  std::cout << "]}" << std::endl;
  return OkStatus();
}

}  // namespace lorry
