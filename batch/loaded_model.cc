#include "batch/loaded_model.h"

#include <ATen/Parallel.h>

#include "batch/transformer.h"
#include "lora/merge.h"
#include "lora/peft_files.h"
#include "model/format/model_directory.h"
#include "model/net/arithmetic.h"

namespace lorry {
namespace {

Result<Precision> PrecisionOf(const std::string& dtype) {
  if (dtype.empty() || dtype == "bfloat16") return CpuHasBf16() ? Precision::kBf16 : Precision::kFp32;
  if (dtype == "float32") return Precision::kFp32;
  return MakeError(ErrorCode::kUsage, "dtype " + dtype + " is unknown", "use bfloat16 or float32");
}

std::vector<TokenId> EndTokens(const ModelDirectory& directory, const Tokenizer& tokenizer) {
  if (!directory.generation().eos_ids.empty()) return directory.generation().eos_ids;
  if (!directory.config().eos_ids.empty()) return directory.config().eos_ids;
  if (tokenizer.eos_id()) return {*tokenizer.eos_id()};
  return {};
}

}  // namespace

Result<LoadedModel> LoadModel(const ModelChoice& choice) {
  LORRY_ASSIGN_OR_RETURN(const Precision precision, PrecisionOf(choice.dtype));
  LORRY_ASSIGN_OR_RETURN(const ModelDirectory directory, ModelDirectory::Open(choice.directory));
  LORRY_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::FromDirectory(choice.directory));
  std::optional<ChatTemplate> chat_template;
  if (auto found = ChatTemplate::FromDirectory(choice.directory); found.ok()) {
    chat_template = std::move(found).value();
    chat_template->UseSpecialTokensOf(tokenizer);
  } else if (found.error().code != ErrorCode::kNotFound) {
    return found.error();
  }
  std::optional<Adapter> adapter;
  LoadOptions options;
  std::shared_ptr<const SeparateAdapter> separate;
  if (!choice.adapter.empty()) {
    LORRY_ASSIGN_OR_RETURN(adapter, ReadPeftAdapter(choice.adapter, directory.config()));
    if (choice.merge) {
      options.patch = MergePatch(*adapter);
    } else if (adapter->config().dora) {
      return MakeError(ErrorCode::kUnsupported, choice.adapter + ": a DoRA adapter beside the weights is not in this version",
                       "merge it into them");
    } else {
      separate = std::make_shared<SeparateAdapter>(directory.config(), *adapter, precision);
    }
  }
  LORRY_ASSIGN_OR_RETURN(const std::shared_ptr<const DecoderWeights> weights,
                         DecoderWeights::Load(directory, precision, options));
  std::vector<TokenId> end_tokens = EndTokens(directory, tokenizer);
  return LoadedModel{
      std::move(tokenizer),
      std::move(chat_template),
      std::move(end_tokens),
      precision == Precision::kBf16 ? "bfloat16" : "float32",
      CpuArithmetic(precision) + "; " + LibraryVersions(),
      [weights, separate]() -> std::unique_ptr<DecodeModel> { return std::make_unique<TransformerModel>(weights, separate); }};
}

void SetLaneThreads(int threads) { at::set_num_threads(threads); }

}  // namespace lorry
