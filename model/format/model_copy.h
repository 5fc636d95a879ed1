// A model directory written anew: the same model with other weights (an adapter folded in) or in another element type.
#pragma once

#include <filesystem>
#include <optional>

#include "base/result.h"
#include "model/format/dtype.h"
#include "model/format/model_directory.h"

namespace lorry {

// Writes into `out_dir`, which must be there and be empty: config.json, generation_config.json, tokenizer files, chat templates
// and licence as `model` has them, and the weights that the configuration asks for, in the same shards; a tied head and whatever
// else lies in the directory stays away. Each weight is what `read` gives, rounded once to `dtype`, or to the type it has in
// `model` where that is nullopt; config.json names `dtype`. The same bytes every time; the config.json of an unchanged type is
// the model's own. Memory: one tensor at a time. Errors: kUnsupported for a dtype other than F32, BF16, F16 and for a model whose
// config.json says that it is quantized; kData for a weight that is not finite or that float16 cannot hold; kStorage. On an error
// some files may be there already: the directory is the caller's.
Status WriteModelCopy(const ModelDirectory& model, const std::filesystem::path& out_dir, std::optional<DType> dtype,
                      const ReadWeight& read);

// The files beside config.json and the weights alone: generation_config.json, tokenizer files, chat templates and licence.
Status CopySideFiles(const ModelDirectory& model, const std::filesystem::path& out_dir);

}  // namespace lorry
