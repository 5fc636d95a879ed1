#include "batch/model_export.h"

#include <optional>

#include "lora/merge.h"
#include "lora/peft_files.h"
#include "model/format/export_gguf.h"
#include "model/format/model_copy.h"
#include "model/format/model_directory.h"
#include "model/format/nf4_checkpoint.h"

namespace lorry {

Result<int64_t> RunModelExport(const ModelExportOptions& options) {
  std::optional<DType> dtype;
  if (!options.dtype.empty()) {
    LORRY_ASSIGN_OR_RETURN(dtype, DTypeFromTorchName(options.dtype));
  }
  LORRY_ASSIGN_OR_RETURN(const GgmlType gguf_type, GgufTypeFromName(options.gguf_type));
  LORRY_ASSIGN_OR_RETURN(const ModelDirectory model, ModelDirectory::Open(options.model));
  if (options.format == "nf4") {
    if (!options.adapter.empty()) {
      return MakeError(ErrorCode::kUnsupported, "an adapter folded into a model in NF4 is not in this version",
                       "lorry merge it, then export the merged model");
    }
    LORRY_TRY(CopySideFiles(model, options.out));
    LORRY_TRY(WriteNf4Checkpoint(model, options.out, {}));
    return int64_t{0};
  }
  std::optional<Adapter> adapter;
  ReadWeight read = ReadStoredWeight;
  if (!options.adapter.empty()) {
    LORRY_ASSIGN_OR_RETURN(adapter, ReadPeftAdapter(options.adapter, model.config()));
    if (const Status finite = CheckFinite(*adapter); !finite.ok()) {
      Error error = finite.error();
      error.file = options.adapter + "/adapter_model.safetensors";
      return error;
    }
    read = MergedRead(*adapter);
  }
  if (options.format == "gguf") {
    LORRY_TRY(ExportGguf(model, options.out, {.type = gguf_type, .name = options.name}, read));
  } else {
    LORRY_TRY(WriteModelCopy(model, options.out, dtype, read));
  }
  return adapter ? static_cast<int64_t>(adapter->linears().size()) : int64_t{0};
}

}  // namespace lorry
