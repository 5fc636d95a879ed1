#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "model/format/safetensors.h"

namespace lorry {
namespace {

// The package's order: larger element types first (so that every tensor is aligned), then by name.
void SortForFile(std::vector<TensorHead>* heads) {
  std::sort(heads->begin(), heads->end(),
            [](const TensorHead& a, const TensorHead& b) { return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name; });
}

// The length and the JSON, padded with blanks so that the data begins at a multiple of 8.
Result<std::string> Header(const std::vector<TensorHead>& heads, const SafetensorsMetadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const TensorHead& head : heads) {
    if (header.contains(head.name)) {
      return MakeError(ErrorCode::kInternal, fmt::format("tensor \"{}\" is to be written twice", head.name));
    }
    const size_t end = offset + head.ByteCount();
    header[head.name] = {{"dtype", NameOf(head.dtype)}, {"shape", head.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + text;
}

}  // namespace

Status WriteSafetensorsStreamed(const std::filesystem::path& path, std::vector<TensorHead> heads,
                                const SafetensorsMetadata& metadata, const FillTensor& fill) {
  SortForFile(&heads);
  LORRY_ASSIGN_OR_RETURN(const std::string header, Header(heads, metadata));
  LORRY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path.string()));
  LORRY_TRY(file.Write(header));
  std::vector<std::byte> buffer;
  for (const TensorHead& head : heads) {
    buffer.resize(head.ByteCount());
    LORRY_TRY(fill(head, buffer));
    LORRY_TRY(file.Write(std::span<const std::byte>(buffer)));
  }
  return file.Commit();
}

Status WriteSafetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                        const SafetensorsMetadata& metadata) {
  std::map<std::string_view, const TensorView*> by_name;
  std::vector<TensorHead> heads;
  for (const TensorView& tensor : tensors) {
    if (tensor.bytes.size() != tensor.ByteCount()) {
      return MakeError(ErrorCode::kInternal,
                       fmt::format("tensor \"{}\" has {} bytes, not {}", tensor.name, tensor.bytes.size(), tensor.ByteCount()));
    }
    heads.push_back(tensor);
    by_name[tensor.name] = &tensor;
  }
  return WriteSafetensorsStreamed(path, std::move(heads), metadata, [&](const TensorHead& head, std::span<std::byte> bytes) {
    const TensorView& tensor = *by_name.at(head.name);
    if (!bytes.empty()) std::memcpy(bytes.data(), tensor.bytes.data(), bytes.size());
    return OkStatus();
  });
}

}  // namespace lorry
