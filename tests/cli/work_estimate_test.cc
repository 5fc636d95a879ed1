// Steps, tokens and FLOPs of jobs, computed by hand beside.
#include <catch2/catch.hpp>

#include "cli/work_estimate.h"

namespace lorry {
namespace {

// hidden 4, inner 8, one layer, two heads of 2, one kv head, vocabulary 10.
ModelConfig TinyModel() {
  ModelConfig model;
  model.model_type = "llama";
  model.vocab_size = 10;
  model.hidden_size = 4;
  model.intermediate_size = 8;
  model.layers = 1;
  model.heads = 2;
  model.kv_heads = 1;
  model.head_dim = 2;
  model.tied_embeddings = true;
  return model;
}

JobSpec Finetune() {
  JobSpec job;
  FinetuneSpec finetune;
  finetune.adapter.r = 2;
  finetune.training.tokens_per_step = 100;
  finetune.training.epochs = 2;
  job.body = finetune;
  job.resources.cpus = 2;
  return job;
}

TEST_CASE("steps follow from tokens or rows, and max_steps ends them", "[work]") {
  InputFacts facts;
  facts.rows = 50;
  facts.counted_rows = 50;
  facts.tokens = 1010;
  JobSpec job = Finetune();
  FinetuneSpec& finetune = std::get<FinetuneSpec>(job.body);
  CHECK(EstimateWork(job, facts, true).steps == 22);  // 2 x ceil(1010 / 100)
  finetune.training.max_steps = 5;
  CHECK(EstimateWork(job, facts, true).steps == 5);
  finetune.training = TrainingSpec{};
  finetune.training.epochs = 1;
  finetune.training.rows_per_micro_batch = 4;
  finetune.training.micro_batches_per_step = 2;
  CHECK(EstimateWork(job, facts, true).steps == 7);  // ceil(50 / 8)
}

TEST_CASE("rows beyond the counted ones count like them", "[work]") {
  InputFacts facts;
  facts.rows = 1000;
  facts.counted_rows = 10;
  facts.tokens = 50;
  CHECK(EstimateWork(Finetune(), facts, true).steps == 100);  // 2 x 5000 / 100
}

TEST_CASE("a batch's faulty rows cost nothing", "[work]") {
  InputFacts facts;
  facts.model = TinyModel();
  facts.rows = 12;
  facts.faulty_rows = 4;
  facts.counted_rows = 4;
  facts.tokens = 40;
  facts.answer_tokens = 20;
  JobSpec job;
  job.body = BatchSpec{};
  job.resources.cpus = 2;
  CHECK(EstimateWork(job, facts, true).tokens == 120);  // (12 - 4) x 15
  facts.counted_rows = 0;
  CHECK(EstimateWork(job, facts, true).flops == 0);
}

TEST_CASE("FLOPs of a training step", "[work]") {
  InputFacts facts;
  facts.model = TinyModel();
  facts.rows = facts.counted_rows = 10;
  facts.tokens = 100;
  facts.loss_tokens = 25;
  JobSpec job = Finetune();
  std::get<FinetuneSpec>(job.body).training.epochs = 1;
  const WorkEstimate work = EstimateWork(job, facts, true);
  // q 4x4, k 2x4, v 2x4, o 4x4, gate 8x4, up 8x4, down 4x8
  const double layers = 16 + 8 + 8 + 16 + 32 + 32 + 32;
  const double adapter = 2 * (8 + 6 + 6 + 8 + 12 + 12 + 12);
  CHECK(work.adapter_parameters == adapter);
  CHECK(work.flops == Approx(100 * (4 * layers + 6 * adapter + 4 * 4 * 10 * 0.25)));
}

TEST_CASE("a token passes through a few of the experts", "[work]") {
  InputFacts facts;
  ModelConfig model = TinyModel();
  model.experts = 4, model.experts_per_token = 1, model.expert_size = 6, model.sparse_layers = {true};
  facts.model = model;
  facts.rows = facts.counted_rows = 10;
  facts.tokens = 100;
  JobSpec job = Finetune();
  std::get<FinetuneSpec>(job.body).training.epochs = 1;
  const WorkEstimate work = EstimateWork(job, facts, true);
  // Attention as above; the router 4x4; of each expert gate 6x4, up 6x4, down 4x6.
  const double layers = 48 + 16 + 72;
  CHECK(work.adapter_parameters == 2 * (28 + 8 + 4 * 30));
  CHECK(work.flops == Approx(100 * (4 * layers + 6 * 2 * (28 + 8 + 30))));
}

TEST_CASE("memory counts packed weights in the precision that is computed", "[work]") {
  InputFacts facts;
  facts.model = TinyModel();
  facts.model->vocab_size = 1 << 20;
  facts.rows = facts.counted_rows = 10;
  facts.tokens = 100;
  facts.answer_tokens = 60;
  const int64_t words = int64_t{4} << 20, layers = 144;
  JobSpec job;
  job.body = BatchSpec{};
  job.resources.cpus = 2;
  const int64_t cache = 2 * 10 * (10 + 6) * 2 * 1 * 2;  // lanes, rows, tokens, keys and values of one head of 2
  const int64_t process = int64_t{400} << 20;
  CHECK(EstimateWork(job, facts, true).memory_bytes == process + 2 * (2 * words + layers + cache));
  CHECK(EstimateWork(job, facts, false).memory_bytes == process + 4 * (2 * words + layers + cache));
  const int64_t bf16 = EstimateWork(Finetune(), facts, true).memory_bytes - process;
  CHECK(bf16 > 2 * (3 * words + 2 * layers));
  CHECK(bf16 < 2 * (3 * words + 2 * layers) + 10000);
}

TEST_CASE("a base in NF4 takes 4.127 bits a weight of the layers, once", "[work]") {
  InputFacts facts;
  facts.model = TinyModel();
  facts.model->intermediate_size = 1 << 20;
  facts.rows = facts.counted_rows = 10;
  facts.tokens = 100;
  JobSpec job = Finetune();
  const int64_t whole = EstimateWork(job, facts, true).memory_bytes;
  std::get<FinetuneSpec>(job.body).adapter.type = AdapterType::kQlora;
  const double layers = 48 + 3.0 * 4 * (1 << 20);
  CHECK(static_cast<double>(whole - EstimateWork(job, facts, true).memory_bytes) == Approx(layers * (2 * 2 - 4.127 / 8)));
}

}  // namespace
}  // namespace lorry
