// The engine's model on the tiny checkpoints of each family (tests/golden/make_decoder.py): a prompt read at once and token by
// token, the adapter beside the weights and within them, against transformers with PEFT.
#include "batch/transformer.h"
#include "lora/merge.h"
#include "tests/lora/golden_case.h"

namespace lorry {
namespace {

std::vector<TransformerModel> Models(const ModelDirectory& directory, const Adapter& adapter) {
  LoadOptions merging;
  merging.patch = MergePatch(adapter);
  std::vector<TransformerModel> models;
  if (!adapter.config().dora) {
    models.emplace_back(Expect(DecoderWeights::Load(directory, Precision::kFp32, {})),
                        std::make_shared<const SeparateAdapter>(directory.config(), adapter, Precision::kFp32));
  }
  models.emplace_back(Expect(DecoderWeights::Load(directory, Precision::kFp32, merging)), nullptr);
  return models;
}

// The largest distance of `row` from expected logits.
double Distance(const double* expected, LogitsRow row) {
  double worst = 0.0;
  for (size_t i = 0; i < row.size(); ++i) worst = std::max(worst, std::abs(row[i] - expected[i]));
  return worst;
}

// Farthest logit when `ids` come `at_once` tokens at a time.
double FarthestLogit(TransformerModel& model, const std::vector<int32_t>& ids, size_t at_once, const double* expected) {
  const auto memory = model.NewSequence(static_cast<int64_t>(ids.size()));
  double worst = 0.0;
  for (size_t begin = 0; begin < ids.size(); begin += at_once) {
    const size_t count = std::min(at_once, ids.size() - begin);
    SequencePiece piece{memory.get(), {ids.data() + begin, count}, {}};
    for (size_t t = 0; t < count; ++t) piece.logits_at.push_back(static_cast<int32_t>(t));
    const std::vector<LogitsRow> rows = Expect(model.Read({&piece, 1}));
    for (size_t t = 0; t < count; ++t) {
      worst = std::max(worst, Distance(expected + (begin + t) * static_cast<size_t>(model.vocab_size()), rows[t]));
    }
  }
  return worst;
}

// The logits of the last token of each of `documents`, read in one call.
std::vector<std::vector<float>> LastLogits(TransformerModel& model, const std::vector<std::vector<int32_t>>& documents) {
  std::vector<std::unique_ptr<SequenceMemory>> memories;
  std::vector<SequencePiece> pieces;
  for (const std::vector<int32_t>& ids : documents) {
    memories.push_back(model.NewSequence(static_cast<int64_t>(ids.size())));
    pieces.push_back({memories.back().get(), ids, {static_cast<int32_t>(ids.size()) - 1}});
  }
  std::vector<std::vector<float>> last;
  for (const LogitsRow row : Expect(model.Read(pieces))) last.emplace_back(row.begin(), row.end());
  return last;
}

}  // namespace

TEST_CASE("a sequence's logits are the same bits whatever is read beside it", "[golden]") {
  for (const std::string& name : DecoderCaseNames()) {
    const std::filesystem::path path = DecoderCasesFolder() / name;
    INFO(path);
    const ModelDirectory directory = Expect(ModelDirectory::Open(path));
    const Adapter adapter = Expect(ReadPeftAdapter(path / "adapter", directory.config()));
    std::ifstream file(path / "batch.json");
    const nlohmann::json batch = nlohmann::json::parse(file);
    std::vector<TransformerModel> models = Models(directory, adapter);
    std::vector<std::vector<int32_t>> documents;
    for (const auto& document : batch) {
      const auto ids = document["ids"].get<std::vector<int32_t>>();
      if (static_cast<int64_t>(ids.size()) <= models[0].max_positions()) documents.push_back(ids);
    }
    for (TransformerModel& model : models) {
      const std::vector<std::vector<float>> together = LastLogits(model, documents);
      for (size_t d = 0; d < documents.size(); ++d) CHECK(LastLogits(model, {documents[d]})[0] == together[d]);
    }
  }
}

TEST_CASE("the engine's logits are transformers' in each family", "[golden]") {
  for (const std::string& name : DecoderCaseNames()) {
    const std::filesystem::path path = DecoderCasesFolder() / name;
    INFO(path);
    const ModelDirectory directory = Expect(ModelDirectory::Open(path));
    const Adapter adapter = Expect(ReadPeftAdapter(path / "adapter", directory.config()));
    const SafetensorsFile expected = Expect(SafetensorsFile::Open(path / "expected.safetensors"));
    std::vector<TransformerModel> models = Models(directory, adapter);
    std::ifstream file(path / "batch.json");
    size_t index = 0, compared = 0;
    for (const auto& document : nlohmann::json::parse(file)) {
      const TensorView* logits = expected.Find("logits64." + std::to_string(index++));
      REQUIRE(logits != nullptr);
      const auto ids = document["ids"].get<std::vector<int32_t>>();
      if (static_cast<int64_t>(ids.size()) > models[0].max_positions()) continue;
      ++compared;
      for (TransformerModel& model : models) {
        for (const size_t at_once : {ids.size(), size_t{1}}) {
          CHECK(FarthestLogit(model, ids, at_once, reinterpret_cast<const double*>(logits->bytes.data())) < 5e-4);
        }
      }
    }
    CHECK(compared >= 2);
  }
}

}  // namespace lorry
