#include "model/format/safetensors.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace lorry {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxDimensions = 16;
constexpr uint64_t kMaxElements = uint64_t{1} << 62;

Error Fault(const std::string& file, std::string message) {
  Error error = MakeError(ErrorCode::kData, std::move(message));
  error.file = file;
  return error;
}

Result<std::vector<uint64_t>> WholeNumbers(const nlohmann::json& list, size_t max_count) {
  if (!list.is_array() || list.size() > max_count) return MakeError(ErrorCode::kData, "is not a list of whole numbers");
  std::vector<uint64_t> numbers;
  for (const nlohmann::json& item : list) {
    if (!item.is_number_unsigned()) return MakeError(ErrorCode::kData, "is not a list of whole numbers");
    numbers.push_back(item.get<uint64_t>());
  }
  return numbers;
}

struct Placed {
  TensorView tensor;
  uint64_t begin = 0, end = 0;
};

// One entry of the header, its shape and offsets checked against each other but not yet against the file.
Result<Placed> ReadEntry(const std::string& name, const nlohmann::json& entry) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string()) {
    return MakeError(ErrorCode::kData, "needs dtype, shape and data_offsets, and nothing else");
  }
  Placed placed;
  placed.tensor.name = name;
  LORRY_ASSIGN_OR_RETURN(placed.tensor.dtype, DTypeFromName(entry["dtype"].get_ref<const std::string&>()));
  LORRY_ASSIGN_OR_RETURN(const std::vector<uint64_t> shape, WholeNumbers(entry["shape"], kMaxDimensions));
  LORRY_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, WholeNumbers(entry["data_offsets"], 2));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) return MakeError(ErrorCode::kData, "data_offsets is not [begin, end]");
  placed.begin = offsets[0];
  placed.end = offsets[1];
  unsigned __int128 bytes = SizeOf(placed.tensor.dtype);
  bool empty = false;
  for (const uint64_t size : shape) {
    empty = empty || size == 0;
    if (size != 0) bytes *= size;  // 128 bits hold the product of two 63-bit numbers
    if (size > kMaxElements || bytes > kMaxElements) return MakeError(ErrorCode::kData, "its shape is impossible");
    placed.tensor.shape.push_back(static_cast<int64_t>(size));
  }
  if ((empty ? 0 : bytes) != placed.end - placed.begin) {
    return MakeError(ErrorCode::kData,
                     fmt::format("its shape does not fill the {} bytes of data_offsets", placed.end - placed.begin));
  }
  return placed;
}

Status ReadMetadata(const nlohmann::json& entry, SafetensorsMetadata* metadata) {
  if (!entry.is_object()) return MakeError(ErrorCode::kData, "is not an object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) return MakeError(ErrorCode::kData, fmt::format("\"{}\" is not a text", EscapeControl(key)));
    metadata->emplace(key, value.get<std::string>());
  }
  return OkStatus();
}

Result<std::string_view> HeaderText(std::span<const std::byte> bytes, const std::string& name) {
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return Fault(name, fmt::format("{} bytes are too few for a safetensors file", bytes.size()));
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > kMaxHeaderBytes) {
    return Fault(name, fmt::format("its header claims {} bytes; at most {} are possible, so this is no safetensors file", length,
                                   kMaxHeaderBytes));
  }
  if (length > bytes.size() - sizeof(length)) {
    return Fault(name, fmt::format("its header claims {} bytes and {} are there; the file was cut", length,
                                   bytes.size() - sizeof(length)));
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + sizeof(length), length);
}

}  // namespace

int64_t TensorHead::ElementCount() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  LORRY_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path.string()));
  auto shared = std::make_shared<const MappedFile>(std::move(mapped));
  LORRY_ASSIGN_OR_RETURN(SafetensorsFile file, Parse(shared->bytes(), path.string()));
  file.file_ = std::move(shared);
  return file;
}

Result<SafetensorsFile> SafetensorsFile::Parse(std::span<const std::byte> bytes, const std::string& name) {
  LORRY_ASSIGN_OR_RETURN(const std::string_view text, HeaderText(bytes, name));
  const std::span<const std::byte> data = bytes.subspan(sizeof(uint64_t) + text.size());
  Result<nlohmann::json> header = ParseJson(text, {.max_bytes = kMaxHeaderBytes, .max_depth = 4});
  if (!header.ok()) return Fault(name, "its header: " + header.error().Format());
  if (!header->is_object()) return Fault(name, "its header is not an object");

  SafetensorsFile file;
  std::vector<Placed> placed;
  for (const auto& [key, entry] : header->items()) {
    if (key == "__metadata__") {
      const Status read = ReadMetadata(entry, &file.metadata_);
      if (!read.ok()) return Fault(name, "__metadata__: " + read.error().Format());
      continue;
    }
    Result<Placed> one = ReadEntry(key, entry);
    if (!one.ok()) return Fault(name, fmt::format("tensor \"{}\": {}", EscapeControl(key), one.error().Format()));
    placed.push_back(std::move(*one));
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  uint64_t covered = 0;
  for (Placed& one : placed) {
    if (one.begin != covered || one.end > data.size()) {
      return Fault(name, fmt::format("tensor \"{}\" lies at [{}, {}) where {} was expected in {} bytes of data",
                                     EscapeControl(one.tensor.name), one.begin, one.end, covered, data.size()));
    }
    covered = one.end;
    one.tensor.bytes = data.subspan(one.begin, one.end - one.begin);
    file.index_.emplace(one.tensor.name, file.tensors_.size());
    file.tensors_.push_back(std::move(one.tensor));
  }
  if (covered != data.size()) return Fault(name, fmt::format("{} bytes after the last tensor", data.size() - covered));
  return file;
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace lorry
