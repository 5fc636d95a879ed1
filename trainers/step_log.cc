#include "trainers/step_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "trainers/hdf5_image.h"

namespace lorry::trainers {
namespace {

using nlohmann::json;

json ToJson(const StepRecord& r) {
  return {{"step", r.step},
          {"loss", r.loss},
          {"grad_norm", r.grad_norm},
          {"learning_rate", r.learning_rate},
          {"tokens", r.tokens},
          {"loss_tokens", r.loss_tokens},
          {"adapter", r.adapter.hex()}};
}

Result<StepRecord> StepFromJson(const json& value) {
  StepRecord record;
  record.step = value.at("step").get<int64_t>();
  record.loss = value.at("loss").get<double>();
  record.grad_norm = value.at("grad_norm").get<double>();
  record.learning_rate = value.at("learning_rate").get<double>();
  record.tokens = value.at("tokens").get<int64_t>();
  record.loss_tokens = value.at("loss_tokens").get<int64_t>();
  LORRY_ASSIGN_OR_RETURN(record.adapter, Digest::FromHex(value.at("adapter").get<std::string>()));
  return record;
}

}  // namespace

Result<StepLog> StepLog::Open(const std::string& path) {
  JournalContents contents;
  if (FileExists(path)) {
    LORRY_ASSIGN_OR_RETURN(contents, ReadJournal(path));
  }
  LORRY_ASSIGN_OR_RETURN(JournalWriter writer, JournalWriter::Open(path));
  StepLog log(std::move(writer));
  for (const std::string& record : contents.records) {
    const Result<json> parsed = ParseJson(record);
    if (!parsed.ok()) return MakeError(ErrorCode::kData, path + ": " + parsed.error().Format());
    const json& value = *parsed;
    try {
      if (value.contains("evaluation")) {
        const EvaluationRecord e{value.at("evaluation").get<int64_t>(), value.at("loss").get<double>(),
                                 value.at("tokens").get<int64_t>()};
        log.evaluations_[e.step] = e;
        continue;
      }
      LORRY_ASSIGN_OR_RETURN(const StepRecord step, StepFromJson(value));
      log.steps_[step.step] = step;
      log.last_known_step_ = std::max(log.last_known_step_, step.step);
    } catch (const json::exception& exception) {
      return MakeError(ErrorCode::kData, path + ": " + exception.what());
    }
  }
  return log;
}

const StepRecord* StepLog::Find(int64_t step) const {
  const auto found = steps_.find(step);
  return found == steps_.end() ? nullptr : &found->second;
}

Status StepLog::Append(const StepRecord& record) {
  steps_[record.step] = record;
  return writer_.Append(ToJson(record).dump());
}

Status StepLog::Append(const EvaluationRecord& record) {
  evaluations_[record.step] = record;
  return writer_.Append(json{{"evaluation", record.step}, {"loss", record.loss}, {"tokens", record.tokens}}.dump());
}

Status StepLog::WriteTrace(const std::string& path, int64_t last_step) const {
  std::vector<int64_t> step, tokens, loss_tokens, eval_step, eval_tokens;
  std::vector<double> loss, grad_norm, learning_rate, eval_loss;
  std::vector<uint8_t> digests;
  for (const auto& [number, record] : steps_) {
    if (number > last_step) break;
    step.push_back(number);
    loss.push_back(record.loss);
    grad_norm.push_back(record.grad_norm);
    learning_rate.push_back(record.learning_rate);
    tokens.push_back(record.tokens);
    loss_tokens.push_back(record.loss_tokens);
    digests.insert(digests.end(), record.adapter.bytes().begin(), record.adapter.bytes().end());
  }
  for (const auto& [number, record] : evaluations_) {
    if (number > last_step) break;
    eval_step.push_back(number);
    eval_loss.push_back(record.loss);
    eval_tokens.push_back(record.tokens);
  }
  Hdf5Builder image;
  LORRY_TRY(image.Add("step", std::span<const int64_t>(step)));
  LORRY_TRY(image.Add("loss", std::span<const double>(loss)));
  LORRY_TRY(image.Add("grad_norm", std::span<const double>(grad_norm)));
  LORRY_TRY(image.Add("learning_rate", std::span<const double>(learning_rate)));
  LORRY_TRY(image.Add("tokens", std::span<const int64_t>(tokens)));
  LORRY_TRY(image.Add("loss_tokens", std::span<const int64_t>(loss_tokens)));
  LORRY_TRY(image.Add("adapter_sha256", std::span<const uint8_t>(digests)));
  LORRY_TRY(image.Add("evaluation/step", std::span<const int64_t>(eval_step)));
  LORRY_TRY(image.Add("evaluation/loss", std::span<const double>(eval_loss)));
  LORRY_TRY(image.Add("evaluation/tokens", std::span<const int64_t>(eval_tokens)));
  LORRY_ASSIGN_OR_RETURN(const std::string bytes, image.Finish());
  return WriteFileAtomically(path, bytes);
}

}  // namespace lorry::trainers
