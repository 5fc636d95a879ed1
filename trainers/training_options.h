// What a fine-tuning job asks of the training loop: taken from the job of a task file, which configs/ has checked.
//
// Enums of configs/ stand here as the words of the YAML where another folder has an enum of its own for them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "trainers/batch_plan.h"
#include "trainers/learning_rate.h"

namespace lorry::trainers {

struct TrainingOptions {
  // Data.
  std::string loss_on = "completion";
  std::string too_long = "error";
  int64_t max_length = 1024;
  std::optional<double> val_fraction;
  BatchPlanOptions batches;  // seed included

  // Adapter.
  bool qlora = false;  // the base's linears stay in NF4
  int64_t r = 16;
  double alpha = 32;
  double dropout = 0;
  bool rslora = false;
  bool dora = false;
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::vector<std::string> target_modules;
  std::string base_name;  // base_model of the job: goes into adapter_config.json

  // Steps.
  std::optional<int64_t> epochs;
  std::optional<int64_t> max_steps;
  std::optional<int64_t> eval_every_steps;
  std::optional<int64_t> patience;  // evaluations without a better loss until the run stops early
  double learning_rate = 2e-4;
  std::optional<double> loraplus_lr_ratio;  // of B's learning rate to A's
  ScheduleKind schedule = ScheduleKind::kCosine;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1;
  bool bf16 = true;
  uint64_t seed = 0;

  // Checkpoints.
  std::optional<int64_t> checkpoint_every_steps;
  int64_t keep_last = 2;
  bool keep_best = false;

  bool on_gpu = false;
  bool other_device = false;  // a run may go on on another device kind and lose the promise of equal bytes
};

// kSpec for a job that is not a fine-tuning job.
Result<TrainingOptions> TrainingOptionsOf(const nlohmann::json& job);

// The part of the job that decides about the adapter's bytes, as canonical JSON: not its name, project, resources but for the
// lane's threads, limits, retries or where its output goes. Two jobs with the same text may continue each other.
Result<std::string> DecidingPartOf(const nlohmann::json& job);

}  // namespace lorry::trainers
