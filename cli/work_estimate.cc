#include "cli/work_estimate.h"

#include <algorithm>

#include "configs/sweep.h"

namespace lorry {
namespace {

constexpr double kBytesOfAdapterParameter = 16;          // fp32 weight, gradient and two moments
constexpr int64_t kBytesOfProcess = int64_t{400} << 20;  // LibTorch, tokenizer, buffers (measured with a tiny model)
constexpr int64_t kBatchRowsOfLane = 64, kBatchCacheOfLane = int64_t{2} << 30;  // EngineOptions

int64_t DivideUp(int64_t a, int64_t b) { return b <= 0 ? 0 : (a + b - 1) / b; }

struct AdapterSize {
  int64_t parameters = 0;
  int64_t per_token = 0;  // those that a token passes through: of experts a few
};

// The matrices on the linear layers that the adapter sits on.
AdapterSize SizeOfAdapter(const AdapterSpec& adapter, const ModelConfig& model) {
  const bool all = adapter.target_modules == std::vector<std::string>{"all-linear"};
  int64_t always = 0, experts = 0;
  for (const ExpectedTensor& module : LinearModules(model)) {
    const bool targeted =
        all || std::any_of(adapter.target_modules.begin(), adapter.target_modules.end(), [&](const std::string& target) {
          return module.name == target || module.name.ends_with("." + target);
        });
    if (!targeted) continue;
    const bool of_expert = module.name.find(".experts.") != std::string::npos;
    (of_expert ? experts : always) += adapter.r * (module.shape[0] + module.shape[1]);
  }
  if (experts == 0) return {always, always};
  return {always + experts, always + experts * model.experts_per_token / model.experts};
}

// Of all linear layers, adapted or not.
int64_t LayerParameters(const ModelConfig& model) {
  int64_t parameters = 0;
  for (const ExpectedTensor& tensor : ExpectedTensors(model)) {
    const bool linear = tensor.shape.size() == 2 && tensor.name.starts_with("model.layers.");
    if (linear) parameters += tensor.shape[0] * tensor.shape[1];
  }
  return parameters;
}

// Weights of the experts that a token does not pass through.
int64_t IdleParameters(const ModelConfig& model) {
  if (model.experts == 0) return 0;
  const int64_t sparse = std::count(model.sparse_layers.begin(), model.sparse_layers.end(), true);
  return sparse * (model.experts - model.experts_per_token) * 3 * model.hidden_size * model.expert_size;
}

// Columns of a token's MLP, its experts' side by side.
int64_t MlpColumns(const ModelConfig& model) {
  if (model.experts == 0) return model.intermediate_size;
  const bool mixed = std::count(model.sparse_layers.begin(), model.sparse_layers.end(), false) > 0;
  return std::max(model.experts_per_token * model.expert_size, mixed ? model.intermediate_size : 0);
}

// Frozen weights as they lie packed: the linears and the head once for each direction, and the embedding.
int64_t WeightBytes(const ModelConfig& model, int64_t bytes_of_weight, int64_t directions) {
  const int64_t words = model.hidden_size * model.vocab_size;
  return bytes_of_weight * (directions * (LayerParameters(model) + words) + words);
}

// A weight in NF4 with quantized scales takes 4.127 bits, once for both directions.
int64_t Nf4Bytes(const ModelConfig& model) {
  return static_cast<int64_t>(static_cast<double>(LayerParameters(model)) * 4.127 / 8);
}

int64_t BaseBytes(const AdapterSpec& adapter, const ModelConfig& model, int64_t bytes_of_weight) {
  const int64_t whole = WeightBytes(model, bytes_of_weight, 2);
  if (adapter.type != AdapterType::kQlora) return whole;
  return whole - 2 * bytes_of_weight * LayerParameters(model) + Nf4Bytes(model);
}

// All sound rows' tokens, from those that were counted.
int64_t ScaledTokens(const InputFacts& facts, int64_t counted) {
  if (facts.counted_rows == 0) return 0;
  return static_cast<int64_t>(static_cast<double>(counted) * static_cast<double>(facts.rows - facts.faulty_rows) /
                              static_cast<double>(facts.counted_rows));
}

void EstimateFinetune(const FinetuneSpec& job, const ResourcesSpec& resources, const InputFacts& facts, bool fast_bf16,
                      WorkEstimate& work) {
  const TrainingSpec& training = job.training;
  const int64_t tokens = ScaledTokens(facts, facts.tokens);
  int64_t steps_per_epoch = 0, tokens_per_step = training.tokens_per_step.value_or(0);
  if (training.rows_per_micro_batch) {
    const int64_t rows = *training.rows_per_micro_batch * *training.micro_batches_per_step;
    steps_per_epoch = DivideUp(facts.rows, rows);
    tokens_per_step = facts.rows == 0 ? 0 : tokens * rows / facts.rows;
  } else if (tokens > 0) {
    steps_per_epoch = DivideUp(tokens, tokens_per_step);
  }
  if (training.epochs) work.steps = *training.epochs * steps_per_epoch;
  if (training.max_steps) work.steps = work.steps == 0 ? *training.max_steps : std::min(work.steps, *training.max_steps);
  work.tokens = work.steps * tokens_per_step;
  if (!facts.model || work.tokens == 0) return;
  const ModelConfig& model = *facts.model;
  AdapterSize adapter = SizeOfAdapter(job.adapter, model);
  if (job.adapter.init_from) adapter = {facts.adapter_parameters, facts.adapter_parameters};
  work.adapter_parameters = adapter.parameters;
  const double loss_share = facts.tokens == 0 ? 1 : static_cast<double>(facts.loss_tokens) / static_cast<double>(facts.tokens);
  const double head = 4.0 * static_cast<double>(model.hidden_size) * static_cast<double>(model.vocab_size) * loss_share;
  work.flops = static_cast<double>(work.tokens) * (4.0 * static_cast<double>(LayerParameters(model) - IdleParameters(model)) +
                                                   6.0 * static_cast<double>(adapter.per_token) + head);
  const int64_t bytes_of_weight = training.precision == TrainPrecision::kBf16 && (fast_bf16 || resources.gpus) ? 2 : 4;
  const double lane_tokens = static_cast<double>(tokens_per_step) / static_cast<double>(std::max<int64_t>(1, resources.Lanes()));
  const double activations = lane_tokens * static_cast<double>(model.layers) *
                             static_cast<double>((10 * model.hidden_size + 4 * MlpColumns(model)) * bytes_of_weight) / 2;
  const double lanes_of_rank = static_cast<double>(resources.Lanes()) / static_cast<double>(resources.Ranks());
  work.memory_bytes =
      kBytesOfProcess + BaseBytes(job.adapter, model, bytes_of_weight) +
      static_cast<int64_t>(static_cast<double>(work.adapter_parameters) * kBytesOfAdapterParameter + activations * lanes_of_rank);
}

// A sweep's points share the weights, and the lanes one after the other.
void EstimateSweep(const JobSpec& job, const InputFacts& facts, bool fast_bf16, WorkEstimate& work) {
  const Result<std::vector<SweepPoint>> points = SweepPoints(ToJson(job));
  if (!points.ok()) return;
  for (const SweepPoint& point : *points) {
    const Result<JobSpec> alone = JobFromJson(point.job);
    if (!alone.ok()) return;
    WorkEstimate one;
    EstimateFinetune(*alone->finetune(), alone->resources, facts, fast_bf16, one);
    const auto adapter_bytes = [](const WorkEstimate& estimate) {
      return static_cast<int64_t>(static_cast<double>(estimate.adapter_parameters) * kBytesOfAdapterParameter);
    };
    const int64_t shared = std::max(work.memory_bytes - adapter_bytes(work), one.memory_bytes - adapter_bytes(one));
    work.steps = std::max(work.steps, one.steps);
    work.tokens += one.tokens;
    work.flops += one.flops;
    work.adapter_parameters += one.adapter_parameters;
    work.memory_bytes = shared + adapter_bytes(work);
  }
  work.points = static_cast<int64_t>(points->size());
}

void EstimateBatch(const ResourcesSpec& resources, const InputFacts& facts, bool fast_bf16, WorkEstimate& work) {
  work.rows = facts.rows;
  if (!facts.model || facts.counted_rows == 0) return;
  work.tokens = ScaledTokens(facts, facts.tokens + facts.answer_tokens);
  work.flops =
      2.0 * static_cast<double>(facts.model->ParameterCount() - IdleParameters(*facts.model)) * static_cast<double>(work.tokens);
  const ModelConfig& model = *facts.model;
  const int64_t bytes_of_number = fast_bf16 ? 2 : 4;
  const int64_t row_tokens = (facts.tokens + facts.answer_tokens) / facts.counted_rows;
  const int64_t row_bytes = row_tokens * 2 * model.layers * model.kv_heads * model.head_dim * bytes_of_number;
  const int64_t lanes_of_rank = resources.Lanes() / resources.Ranks();
  work.memory_bytes =
      kBytesOfProcess + WeightBytes(model, bytes_of_number, 1) +
      lanes_of_rank * std::min(kBatchCacheOfLane, std::min(kBatchRowsOfLane, facts.rows - facts.faulty_rows) * row_bytes);
}

}  // namespace

WorkEstimate EstimateWork(const JobSpec& job, const InputFacts& facts, bool fast_bf16) {
  WorkEstimate work;
  if (const FinetuneSpec* finetune = job.finetune()) {
    if (finetune->sweep) {
      EstimateSweep(job, facts, fast_bf16, work);
    } else {
      EstimateFinetune(*finetune, job.resources, facts, fast_bf16, work);
    }
  }
  if (job.batch() != nullptr) EstimateBatch(job.resources, facts, fast_bf16, work);
  if (const CommandSpec* command = job.command()) work.elements = command->array;
  return work;
}

}  // namespace lorry
