// Which layers an adapter's configuration names, how it begins, and what its files may not say.
#include "lora/adapter.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

#include "base/files.h"
#include "lora/peft_files.h"
#include "lora/target_match.h"

namespace lorry {
namespace {

ModelConfig SmallModel() {
  ModelConfig config;
  config.hidden_size = 8, config.intermediate_size = 12, config.layers = 12, config.heads = 2, config.kv_heads = 1,
  config.head_dim = 4;
  return config;
}

std::vector<std::string> Modules() {
  std::vector<std::string> modules;
  for (int layer = 0; layer < 12; ++layer)
    for (int kind = 0; kind < kLinearKinds; ++kind) {
      modules.push_back("model.layers." + std::to_string(layer) + "." + LinearKindPath(static_cast<LinearKind>(kind)));
    }
  return modules;
}

AdapterConfig Targets(std::vector<std::string> names, bool regex = false) {
  AdapterConfig config;
  config.target_modules = std::move(names);
  config.targets_are_regex = regex;
  return config;
}

}  // namespace

TEST_CASE("target_modules by PEFT's rules", "[adapter]") {
  struct Row {
    const char* what;
    AdapterConfig config;
    size_t matches;  // 0: an error
  };
  AdapterConfig excluded = Targets({"all-linear"}), layers = Targets({"q_proj"}), regex_layers = Targets({".*q_proj"}, true);
  excluded.exclude_modules = {"down_proj"};
  layers.layers_to_transform = {1, 11};
  regex_layers.layers_to_transform = {1};
  const std::vector<Row> rows = {
      {"all", Targets({"all-linear"}), 84},
      {"all, any case", Targets({"All-Linear"}), 84},
      {"by last name", Targets({"q_proj", "v_proj"}), 24},
      {"by suffix", Targets({"self_attn.q_proj"}), 12},
      {"by full name", Targets({"model.layers.1.mlp.up_proj"}), 1},
      {"half a name is none", Targets({"proj"}), 0},
      {"none", Targets({"query_key_value"}), 0},
      {"one of two", Targets({"q_proj", "c_attn"}), 12},
      {"whole-name pattern", Targets({R"(.*layers\.1\.(self_attn\.(q|v)_proj|mlp\..*))"}, true), 5},
      {"a pattern must match all of the name", Targets({"q_proj"}, true), 0},
      {"a broken pattern", Targets({"("}, true), 0},
      {"excluded", excluded, 72},
      {"layers", layers, 2},
      {"layers count only for lists", regex_layers, 12},
      {"the head", Targets({"q_proj", "lm_head"}), 0},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const auto found = MatchTargets(row.config, Modules());
    CHECK(found.ok() == (row.matches > 0));
    if (found.ok()) CHECK(found->size() == row.matches);
  }
  const auto none = MatchTargets(Targets({"query_key_value"}), Modules());
  CHECK(none.error().code == ErrorCode::kSpec);
  CHECK(none.error().Format().find("q_proj") != std::string::npos);
}

TEST_CASE("rank and alpha patterns: the first that fits", "[adapter]") {
  AdapterConfig config = Targets({"q_proj", "v_proj"});
  config.r = 8, config.alpha = 16;
  config.rank_pattern = {{"layers.1.self_attn.q_proj", 2}, {"q_proj", 4}};
  config.alpha_pattern = {{"layers.[0-3].*v_proj", 32.0}};
  const Adapter adapter = *Adapter::Create(SmallModel(), config);
  CHECK(adapter.Find(1, LinearKind::kQ)->r == 2);
  CHECK(adapter.Find(11, LinearKind::kQ)->r == 4);
  CHECK(adapter.Find(2, LinearKind::kV)->scaling == 4.0);
  CHECK(adapter.Find(4, LinearKind::kV)->scaling == 2.0);
  CHECK(adapter.Find(4, LinearKind::kO) == nullptr);
}

TEST_CASE("an adapter begins as PEFT's: A uniform within 1/sqrt(in), B zero, each matrix by its own generator", "[adapter]") {
  Adapter all = *Adapter::Create(SmallModel(), Targets({"all-linear"})),
          some = *Adapter::Create(SmallModel(), Targets({"v_proj"}));
  InitAdapter(all, 7);
  InitAdapter(some, 7);
  const AdaptedLinear& v = *all.Find(3, LinearKind::kV);
  CHECK(at::equal(Adapter::ViewA(v, all.values()), Adapter::ViewA(*some.Find(3, LinearKind::kV), some.values())));
  CHECK(at::equal(Adapter::ViewB(v, all.values()), at::zeros({v.out, v.r})));
  const at::Tensor a = all.values().masked_select(all.values() != 0);
  CHECK(a.abs().max().item<double>() <= 1 / std::sqrt(8.0));
  CHECK(std::abs(a.mean().item<double>()) < 0.01);
  Adapter other = *Adapter::Create(SmallModel(), Targets({"all-linear"}));
  InitAdapter(other, 8);
  CHECK(!at::equal(other.values(), all.values()));
}

TEST_CASE("the flat layout has each matrix once, and PEFT's names", "[adapter]") {
  const Adapter adapter = *Adapter::Create(SmallModel(), Targets({"q_proj", "down_proj"}));
  int64_t next = 0;
  for (const Adapter::Slot& slot : adapter.Slots()) {
    CHECK(slot.offset == next);
    next += slot.size();
  }
  CHECK(next == adapter.ParameterCount());
  CHECK(adapter.Slots()[1].name == "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
}

TEST_CASE("adapter_config.json that this version cannot carry out is refused with its key", "[adapter]") {
  struct Row {
    const char* json;
    const char* key;  // nullptr: read
  };
  const std::vector<Row> rows = {
      {R"({"peft_type":"LORA","target_modules":["q_proj"]})", nullptr},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"from_the_future":3,"use_dora":false,"lora_bias":null,"modules_to_save":[]})",
       nullptr},
      {R"({"peft_type":"IA3","target_modules":["q_proj"]})", "peft_type"},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"use_dora":true})", nullptr},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"modules_to_save":["lm_head"]})", "modules_to_save"},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"bias":"all"})", "bias"},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"init_lora_weights":"pissa"})", "init_lora_weights"},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"r":0})", "r"},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"r":"8"})", "r"},
      {R"({"peft_type":"LORA","target_modules":[7]})", "target_modules"},
      {R"({"peft_type":"LORA"})", "target_modules"},
      {R"({"peft_type":"LORA","target_modules":["q_proj"],"rank_pattern":[1]})", "rank_pattern"},
      {R"([])", ""},
      {R"({"peft_type")", ""},
  };
  for (const Row& row : rows) {
    INFO(row.json);
    const TempDirectory directory;
    REQUIRE(WriteFileAtomically(directory.path() + "/adapter_config.json", row.json).ok());
    const auto config = ReadPeftAdapterConfig(directory.path());
    CHECK(config.ok() == (row.key == nullptr));
    if (!config.ok() && row.key != nullptr) CHECK(config.error().key == row.key);
  }
  CHECK(ReadPeftAdapterConfig("/nowhere/at/all").error().code == ErrorCode::kNotFound);
}

namespace {

// Layer 1 dense among sparse ones.
ModelConfig SparseModel() {
  ModelConfig config = SmallModel();
  config.layers = 3, config.experts = 5, config.experts_per_token = 2, config.expert_size = 6;
  config.sparse_layers = {true, false, true};
  return config;
}

}  // namespace

TEST_CASE("linears of experts", "[adapter]") {
  const Adapter all = *Adapter::Create(SparseModel(), Targets({"all-linear"}));
  CHECK(all.linears().size() == 3 * 4 + 2 * (1 + 5 * 3));
  CHECK(all.Find(0, LinearKind::kRouter)->module == "model.layers.0.mlp.gate");
  const AdaptedLinear& up = *all.Find(2, LinearKind::kUp, 4);
  CHECK(up.module == "model.layers.2.mlp.experts.4.up_proj");
  CHECK((up.out == 6 && up.in == 8));
  CHECK(all.Find(1, LinearKind::kUp) == nullptr);
  CHECK(all.Find(1, LinearKind::kUp, 0) == nullptr);
  CHECK(all.Find(0, LinearKind::kUp, 5) == nullptr);

  struct Row {
    const char* what;
    std::vector<std::string> targets;
    void (*change)(AdapterConfig&);
    size_t linears;  // 0: refused
  };
  const std::vector<Row> rows = {
      {"attention alone", {"q_proj", "o_proj"}, [](AdapterConfig&) {}, 6},
      {"attention alone, DoRA", {"q_proj", "o_proj"}, [](AdapterConfig& c) { c.dora = true; }, 6},
      {"experts, and no dense MLP", {"gate_proj", "up_proj", "down_proj"}, [](AdapterConfig&) {}, 30},
      {"down of one expert", {"experts.3.down_proj"}, [](AdapterConfig&) {}, 2},
      {"a dense MLP alone", {"model.layers.1.mlp.down_proj"}, [](AdapterConfig&) {}, 0},
      {"gate without up", {"gate_proj"}, [](AdapterConfig&) {}, 0},
      {"gate and up at two ranks",
       {"gate_proj", "up_proj"},
       [](AdapterConfig& c) {
         c.rank_pattern = {{"up_proj", 2}};
       },
       0},
      {"experts, DoRA", {"down_proj"}, [](AdapterConfig& c) { c.dora = true; }, 0},
      {"experts, rsLoRA", {"down_proj"}, [](AdapterConfig& c) { c.rslora = true; }, 0},
      {"router, rsLoRA", {"gate"}, [](AdapterConfig& c) { c.rslora = true; }, 2},
      {"router, DoRA", {"gate"}, [](AdapterConfig& c) { c.dora = true; }, 0},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    AdapterConfig config = Targets(row.targets);
    row.change(config);
    const Result<Adapter> adapter = Adapter::Create(SparseModel(), config);
    CHECK((adapter.ok() ? adapter->linears().size() : 0) == row.linears);
  }
}

TEST_CASE("target_parameters that are not read", "[adapter]") {
  const std::vector<const char*> refused = {
      R"(["mlp.experts.gate_up_proj"])",
      R"(["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "self_attn.q_proj.weight"])",
      R"(["layers.0.mlp.experts.gate_up_proj", "mlp.experts.down_proj"])",
  };
  for (const char* parameters : refused) {
    INFO(parameters);
    const TempDirectory directory;
    const std::string json = std::string(R"({"peft_type":"LORA","target_modules":[],"target_parameters":)") + parameters + "}";
    REQUIRE(WriteFileAtomically(directory.path() + "/adapter_config.json", json).ok());
    const Result<Adapter> adapter = ReadPeftAdapter(directory.path(), SparseModel());
    REQUIRE_FALSE(adapter.ok());
    CHECK(adapter.error().code == ErrorCode::kUnsupported);
    CHECK(adapter.error().key == "target_parameters");
  }
}

TEST_CASE("dropout and ranks that cannot be are refused", "[adapter]") {
  AdapterConfig dropout = Targets({"q_proj"}), rank = Targets({"q_proj"});
  dropout.dropout = 0.1, dropout.dora = true;
  rank.r = 0;
  CHECK(Adapter::Create(SmallModel(), dropout).error().code == ErrorCode::kUnsupported);
  dropout.dropout = 1.0, dropout.dora = false;
  CHECK(Adapter::Create(SmallModel(), dropout).error().code == ErrorCode::kSpec);
  CHECK(Adapter::Create(SmallModel(), rank).error().code == ErrorCode::kSpec);
}

}  // namespace lorry
