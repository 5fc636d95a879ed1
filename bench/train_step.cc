// How fast a training step is, and what it reaches of this machine's bf16 matrix rate.
//
//   train_step --model DIR --rows ROWS.jsonl [--steps 30] [--rows-per-step 8] [--lanes 2] [--precision bf16] [--r 16]
//              [--adapter DIR] [--learning-rate 2e-4] [--nf4]
//
// A line of ROWS is {"ids": [...], "loss": [...]} (bench/peers/token_rows.py writes them). Each step takes the next rows,
// deals them to the lanes by length, and ends with AdamW after a clip at 1.0. One JSON line on standard output: tokens/s
// over the steps after the first five, as peft_sft.py counts them; losses; peak memory; and the share of the bf16 GEMM
// rate, ((4 x layer weights + 6 x adapter) x tokens + 4 x head x loss tokens) / time over the mean of two decoder shapes.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "lora/lora_model.h"
#include "lora/peft_files.h"

namespace lorry {
namespace {

struct Options {
  std::string model, rows, adapter, precision = "bf16";
  int64_t steps = 30, rows_per_step = 8, lanes = 2, threads_per_lane = 1, r = 16;
  double learning_rate = 2e-4;
  bool nf4 = false;
};

struct Row {
  std::vector<int32_t> ids;
  std::vector<uint8_t> loss;
};

using Clock = std::chrono::steady_clock;
double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

template <class T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "train_step: %s\n", result.error().Format().c_str());
  std::exit(1);
}

std::vector<Row> ReadRows(const std::string& path, int64_t limit) {
  std::vector<Row> rows;
  std::ifstream file(path);
  for (std::string line; static_cast<int64_t>(rows.size()) < limit && std::getline(file, line);) {
    const auto parsed = nlohmann::json::parse(line);
    rows.push_back({parsed["ids"], parsed["loss"]});
  }
  return rows;
}

// Longest first to the lane that has least.
std::vector<PackedBatch> Deal(std::vector<Row> rows, int64_t lanes) {
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.ids.size() > b.ids.size(); });
  std::vector<PackedBatch> batches(static_cast<size_t>(lanes));
  for (const Row& row : rows) {
    auto least =
        std::min_element(batches.begin(), batches.end(), [](const auto& a, const auto& b) { return a.Tokens() < b.Tokens(); });
    least->Append(row.ids, row.loss);
  }
  std::erase_if(batches, [](const PackedBatch& batch) { return batch.Tokens() == 0; });
  return batches;
}

struct Adam {
  at::Tensor m, v;
  int64_t step = 0;
  void Step(at::Tensor& values, at::Tensor gradient, double learning_rate) {
    if (step++ == 0) m = at::zeros_like(values), v = at::zeros_like(values);
    gradient.mul_(std::min(1.0, 1.0 / (gradient.norm().item<double>() + 1e-6)));
    m.mul_(0.9).add_(gradient, 0.1);
    v.mul_(0.999).addcmul_(gradient, gradient, 0.001);
    const double correction = 1 - std::pow(0.9, step), spread = std::sqrt(1 - std::pow(0.999, step));
    values.addcdiv_(m, (v.sqrt() / spread).add_(1e-8), -learning_rate / correction);
  }
};

struct Totals {
  int64_t tokens = 0, loss_tokens = 0;
  double seconds = 0.0;
  std::vector<double> losses;
};

// All lanes at once; the sum in lane order.
LossSum RunLanes(const LoraModel& model, const std::vector<PackedBatch>& batches, std::vector<at::Tensor>& gradients,
                 const Options& options) {
  std::vector<LossSum> sums(batches.size());
  std::vector<std::thread> lanes;
  for (size_t i = 0; i < batches.size(); ++i) {
    lanes.emplace_back([&, i] {
      at::set_num_threads(static_cast<int>(options.threads_per_lane));
      sums[i] = OrDie(model.ForwardBackward(batches[i], gradients[i], {}));
    });
  }
  for (std::thread& lane : lanes) lane.join();
  for (size_t i = 1; i < sums.size(); ++i) {
    gradients[0].add_(gradients[i]);
    sums[0].loss += sums[i].loss, sums[0].target_tokens += sums[i].target_tokens;
  }
  return sums[0];
}

Totals Train(LoraModel& model, const std::vector<Row>& rows, const Options& options) {
  constexpr int64_t kWarmUp = 5;
  Totals totals;
  Adam optimizer;
  std::vector<at::Tensor> gradients(static_cast<size_t>(options.lanes));
  for (at::Tensor& gradient : gradients) gradient = at::zeros({model.adapter().ParameterCount()}, at::kFloat);
  Clock::time_point start = Clock::now();
  for (int64_t step = 0; step < options.steps; ++step) {
    if (step == kWarmUp) start = Clock::now(), totals.tokens = totals.loss_tokens = 0;
    const auto first = rows.begin() + step * options.rows_per_step;
    const std::vector<PackedBatch> batches = Deal({first, first + options.rows_per_step}, options.lanes);
    const LossSum sum = RunLanes(model, batches, gradients, options);
    const auto targets = static_cast<double>(sum.target_tokens);
    optimizer.Step(model.adapter().values(), gradients[0].div_(targets), options.learning_rate);
    model.AdapterChanged();
    for (const PackedBatch& batch : batches) totals.tokens += batch.Tokens();
    totals.loss_tokens += sum.target_tokens;
    totals.losses.push_back(sum.loss / targets);
  }
  totals.seconds = Seconds(start);
  return totals;
}

// FLOP/s of the two decoder shapes of bench/peers/gemm_peak.py, with as many threads as the lanes have.
double Bf16Rate(int threads) {
  at::set_num_threads(threads);
  double sum = 0.0;
  for (const auto& [k, n] : {std::pair<int64_t, int64_t>{576, 1536}, {1536, 576}}) {
    const at::Tensor x = at::randn({1024, k}).to(at::kBFloat16), w = at::randn({n, k}).to(at::kBFloat16);
    double best = 1e9;
    for (const auto start = Clock::now(); Seconds(start) < 1.5;) {
      const auto once = Clock::now();
      at::linear(x, w);
      best = std::min(best, Seconds(once));
    }
    sum += 2.0 * 1024 * static_cast<double>(k * n) / best;
  }
  return sum / 2;
}

double Flops(const LoraModel& model, const Totals& totals) {
  double layers = 0.0;
  const ModelConfig& config = model.base().config();
  for (int kind = 0; kind < kLinearKinds; ++kind) {
    const auto [out, in] = LinearKindShape(config, static_cast<LinearKind>(kind));
    layers += static_cast<double>(out * in * config.layers);
  }
  return (4 * layers + 6 * static_cast<double>(model.adapter().ParameterCount())) * static_cast<double>(totals.tokens) +
         4.0 * static_cast<double>(config.hidden_size * config.vocab_size) * static_cast<double>(totals.loss_tokens);
}

int Run(const Options& options) {
  const Precision precision = options.precision == "fp32" ? Precision::kFp32 : Precision::kBf16;
  const std::vector<Row> rows = ReadRows(options.rows, options.steps * options.rows_per_step);
  if (static_cast<int64_t>(rows.size()) < options.steps * options.rows_per_step) {
    return std::fprintf(stderr, "train_step: too few rows\n"), 1;
  }
  const auto started = Clock::now();
  const ModelDirectory directory = OrDie(ModelDirectory::Open(options.model));
  auto base = OrDie(DecoderWeights::Load(directory, precision, {.for_training = true, .nf4 = options.nf4}));
  AdapterConfig config;
  config.r = options.r, config.alpha = 2.0 * static_cast<double>(options.r);
  Adapter adapter = OrDie(options.adapter.empty() ? Adapter::Create(directory.config(), config)
                                                  : ReadPeftAdapter(options.adapter, directory.config()));
  if (options.adapter.empty()) InitAdapter(adapter, 7);
  const auto model = OrDie(LoraModel::Create(base, std::move(adapter)));
  const double load_seconds = Seconds(started);
  const Totals totals = Train(*model, rows, options);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double rate = Bf16Rate(static_cast<int>(options.lanes * options.threads_per_lane));
  nlohmann::json out = {{"precision", options.precision},
                        {"instruction_set", InstructionSet(precision)},
                        {"lanes", options.lanes},
                        {"tokens_per_s", static_cast<double>(totals.tokens) / totals.seconds},
                        {"loss_tokens_per_s", static_cast<double>(totals.loss_tokens) / totals.seconds},
                        {"seconds", totals.seconds},
                        {"load_seconds", load_seconds},
                        {"peak_rss_mb", usage.ru_maxrss / 1024},
                        {"weights_mb", base->ResidentBytes() >> 20},
                        {"bf16_gflops", rate / 1e9},
                        {"share_of_bf16_rate", Flops(*model, totals) / totals.seconds / rate},
                        {"losses", totals.losses}};
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace lorry

int main(int argc, char** argv) {
  lorry::Options options;
  CLI::App app("speed of a training step");
  app.add_option("--model", options.model)->required();
  app.add_option("--rows", options.rows)->required();
  app.add_option("--adapter", options.adapter);
  app.add_option("--precision", options.precision)->check(CLI::IsMember({"bf16", "fp32"}));
  app.add_option("--steps", options.steps)->check(CLI::Range(6, 100000));
  app.add_option("--rows-per-step", options.rows_per_step)->check(CLI::Range(1, 65536));
  app.add_option("--lanes", options.lanes)->check(CLI::Range(1, 4096));
  app.add_option("--threads-per-lane", options.threads_per_lane)->check(CLI::Range(1, 1024));
  app.add_option("--r", options.r)->check(CLI::Range(1, 512));
  app.add_option("--learning-rate", options.learning_rate);
  app.add_flag("--nf4", options.nf4, "the base's linears stay in NF4 (QLoRA)");
  CLI11_PARSE(app, argc, argv);
  return lorry::Run(options);
}
