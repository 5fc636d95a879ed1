#include "model/format/import_gguf.h"

#include <fmt/format.h>

#include "base/files.h"
#include "model/format/gguf_tensors.h"
#include "model/format/model_directory.h"

namespace lorry {
namespace {

struct TextFile {
  const char* name;
  std::string content;
};

Result<std::vector<TextFile>> TextFiles(const GgufFile& file, const std::string& config) {
  std::vector<TextFile> files = {{"config.json", config}};
  LORRY_ASSIGN_OR_RETURN(std::string generation, GgufGenerationConfigJson(file));
  files.push_back({"generation_config.json", std::move(generation)});
  LORRY_ASSIGN_OR_RETURN(std::string tokenizer, GgufTokenizerJson(file));
  files.push_back({"tokenizer.json", std::move(tokenizer)});
  LORRY_ASSIGN_OR_RETURN(std::string tokenizer_config, GgufTokenizerConfigJson(file));
  files.push_back({"tokenizer_config.json", std::move(tokenizer_config)});
  LORRY_ASSIGN_OR_RETURN(std::optional<std::string> chat_template, file.Text("tokenizer.chat_template"));
  if (chat_template) files.push_back({"chat_template.jinja", std::move(*chat_template)});
  return files;
}

Status WriteWeights(const GgufFile& file, const ModelConfig& config, const std::filesystem::path& out_dir,
                    const ImportGgufOptions& options) {
  LORRY_TRY(CheckTensors(file, config));
  std::vector<TensorHead> heads;
  for (ExpectedTensor& tensor : ExpectedTensors(config)) {
    heads.push_back({std::move(tensor.name), options.dtype, std::move(tensor.shape)});
  }
  std::vector<float> values;
  return WriteModelWeights(out_dir, heads, options.max_shard_bytes,
                           [&](const TensorHead& head, std::span<std::byte> bytes) -> Status {
                             values.resize(static_cast<size_t>(head.ElementCount()));
                             ReadGgufTensor(file, config, head, values);
                             return FromFloat(options.dtype, values, bytes);
                           });
}

Status WriteAll(const GgufFile& file, const std::filesystem::path& out_dir, const ImportGgufOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const std::string config_text, GgufConfigJson(file, options.dtype));
  LORRY_ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfigText(config_text, file.name()));
  LORRY_ASSIGN_OR_RETURN(const std::vector<TextFile> files, TextFiles(file, config_text));
  for (const TextFile& text : files) LORRY_TRY(WriteFileAtomically((out_dir / text.name).string(), text.content));
  return WriteWeights(file, config, out_dir, options);
}

// Takes away what was written, but not the directory itself: it may have been there before.
void Empty(const std::filesystem::path& dir) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ignored)) std::filesystem::remove_all(entry.path(), ignored);
}

}  // namespace

Status ImportGguf(const std::filesystem::path& gguf, const std::filesystem::path& out_dir, const ImportGgufOptions& options) {
  if (options.dtype != DType::kF32 && options.dtype != DType::kBF16 && options.dtype != DType::kF16) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("weights in {} are not supported", NameOf(options.dtype)),
                     "use float32, bfloat16 or float16");
  }
  LORRY_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(gguf));
  LORRY_TRY(MakeDirectories(out_dir.string()));
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> present, ListDirectory(out_dir.string()));
  if (!present.empty()) return MakeError(ErrorCode::kConflict, fmt::format("{} is not empty", out_dir.string()));
  Status written = WriteAll(file, out_dir, options);
  if (!written.ok()) Empty(out_dir);
  return written;
}

}  // namespace lorry
