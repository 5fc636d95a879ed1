#include "trainers/progress.h"

#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace lorry::trainers {
namespace {

const char* NameOf(Phase phase) {
  switch (phase) {
    case Phase::kStartup:
      return "startup";
    case Phase::kProductive:
      return "productive";
    case Phase::kRecomputed:
      return "recomputed";
    case Phase::kCheckpoint:
      return "checkpoint";
    case Phase::kGangWait:
      return "gang_wait";
  }
  return "";
}

}  // namespace

Progress::Progress(TaskChannel channel, int rank) : shared_(std::make_shared<Shared>(std::move(channel))), rank_(rank) {
  // The reader blocks until the process ends; detached, it holds what it needs.
  if (shared_->channel.interactive()) std::thread(Listen, shared_).detach();
}

Progress::~Progress() { shared_->closing = true; }

void Progress::Listen(const std::shared_ptr<Shared>& shared) {
  while (const std::optional<nlohmann::json> line = shared->channel.Receive()) {
    const std::string type = line->value("t", std::string());
    if (type == "stop" && line->value("mode", std::string()) == "now") std::_Exit(static_cast<int>(TaskExit::kStopped));
    if (type == "stop") shared->stop_wanted = true;
    if (type == "checkpoint_committed") shared->committed_step = line->value("step", int64_t{0});
  }
  if (!shared->closing) std::_Exit(static_cast<int>(TaskExit::kInternal));
}

void Progress::Enter(Phase phase) {
  if (phase_ == phase) return;
  phase_ = phase;
  shared_->channel.Send({{"t", "phase"}, {"phase", NameOf(phase)}});
}

void Progress::Step(const StepRecord& r, int64_t steps, double seconds, std::optional<int> point) {
  if (rank_ != 0) return;
  nlohmann::json line = {{"t", "step"},
                         {"step", r.step},
                         {"steps", steps},
                         {"loss", r.loss},
                         {"grad_norm", r.grad_norm},
                         {"lr", r.learning_rate},
                         {"tokens", r.tokens},
                         {"loss_tokens", r.loss_tokens},
                         {"seconds", seconds}};
  if (point) line["point"] = *point;
  shared_->channel.Send(line);
}

void Progress::Evaluation(const EvaluationRecord& r, std::optional<int> point) {
  if (rank_ != 0) return;
  nlohmann::json line = {{"t", "eval"}, {"step", r.step}, {"loss", r.loss}, {"tokens", r.tokens}};
  if (point) line["point"] = *point;
  shared_->channel.Send(line);
}

void Progress::Checkpoint(const WrittenCheckpoint& c) {
  if (rank_ != 0) return;
  if (!shared_->channel.interactive()) shared_->committed_step = c.step;
  shared_->channel.Send({{"t", "checkpoint"}, {"step", c.step}, {"path", c.path}, {"digest", c.digest.hex()}});
}

void Progress::Preparing(const std::string& what, int64_t done) {
  if (rank_ == 0) {
    shared_->channel.Send({{"t", "log"}, {"level", "info"}, {"text", what + ": " + std::to_string(done) + " rows"}});
  }
}

void Progress::Output(const std::string& name, const std::string& path) {
  if (rank_ == 0) shared_->channel.Send({{"t", "output"}, {"name", name}, {"path", path}});
}

void Progress::Facts(const RunIdentity& identity, const TrainingOptions& options) {
  if (rank_ != 0) return;
  shared_->channel.Send({{"t", "facts"},
                         {"facts",
                          {{"device", identity.device},
                           {"libraries", identity.libraries},
                           {"build", identity.build},
                           {"threads_per_lane", identity.threads_per_lane},
                           {"seed", options.seed},
                           {"precision", options.bf16 ? "bf16" : "fp32"},
                           {"base_model", identity.base_model},
                           {"training_data", identity.training_data},
                           {"validation_data", identity.validation_data}}}});
}

void Progress::Log(const std::string& level, const std::string& text) {
  if (rank_ == 0) shared_->channel.Send({{"t", "log"}, {"level", level}, {"text", text}});
}

void Progress::Failed(const Error& error, TaskExit exit) {
  nlohmann::json line = {{"t", "error"}, {"reason", EndReasonOf(exit)}, {"message", error.message}};
  if (!error.hint.empty()) line["hint"] = error.hint;
  if (!error.file.empty()) line["file"] = error.file;
  if (error.line > 0) line["line"] = error.line;
  if (!error.key.empty()) line["key"] = error.key;
  shared_->closing = true;
  shared_->channel.Send(line);
}

void Progress::Done() {
  shared_->closing = true;
  shared_->channel.Send({{"t", "done"}});
}

}  // namespace lorry::trainers
