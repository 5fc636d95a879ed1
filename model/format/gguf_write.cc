#include "model/format/gguf_write.h"

#include <set>
#include <string_view>

#include <fmt/format.h>

#include "base/files.h"

namespace lorry {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kAlignment = 32;     // the format's default, so that general.alignment need not be written
constexpr size_t kMaxNameBytes = 63;  // GGML_MAX_NAME with its final zero
constexpr uint32_t kArray = 9;

// Type numbers of the alternatives of GgufStored; those of arrays are their elements'.
uint32_t TypeOf(const GgufStored& value) {
  constexpr uint32_t kTypes[] = {7, 4, 6, 8, 5, 6, 8};
  return kTypes[value.index()];
}

size_t Padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The head of the file, as bytes.
class HeadBytes {
 public:
  template <class T>
  void Add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void AddText(std::string_view text) {
    Add<uint64_t>(text.size());
    bytes_ += text;
  }
  void AddPair(const GgufPair& pair) {
    AddText(pair.key);
    const bool is_array = pair.value.index() >= 4;
    if (is_array) Add<uint32_t>(kArray);
    Add<uint32_t>(TypeOf(pair.value));
    std::visit([this](const auto& value) { AddValue(value); }, pair.value);
  }
  void AddMagic() { bytes_ += "GGUF"; }
  void Pad() { bytes_.resize(Padded(bytes_.size())); }
  const std::string& bytes() const { return bytes_; }

 private:
  void AddValue(bool value) { Add<uint8_t>(value ? 1 : 0); }
  void AddValue(uint32_t value) { Add(value); }
  void AddValue(int32_t value) { Add(value); }
  void AddValue(float value) { Add(value); }
  void AddValue(const std::string& value) { AddText(value); }
  template <class T>
  void AddValue(const std::vector<T>& values) {
    Add<uint64_t>(values.size());
    for (const T& value : values) AddValue(value);
  }

  std::string bytes_;
};

Status CheckNames(const std::vector<GgufPair>& pairs, const std::vector<GgufTensorHead>& tensors) {
  std::set<std::string_view> seen;
  for (const GgufPair& pair : pairs) {
    if (!seen.insert(pair.key).second)
      return MakeError(ErrorCode::kInternal, fmt::format("key \"{}\" is to be written twice", pair.key));
  }
  seen.clear();
  for (const GgufTensorHead& tensor : tensors) {
    const bool fits = !tensor.shape.empty() && tensor.shape.size() <= 4 && tensor.name.size() <= kMaxNameBytes &&
                      static_cast<size_t>(tensor.shape.back()) % BlockOf(tensor.type).elements == 0;
    if (!fits || !seen.insert(tensor.name).second) {
      return MakeError(ErrorCode::kInternal, fmt::format("tensor \"{}\" of [{}] as {} cannot be written", tensor.name,
                                                         fmt::join(tensor.shape, ", "), NameOf(tensor.type)));
    }
  }
  return OkStatus();
}

std::string Head(const std::vector<GgufPair>& pairs, const std::vector<GgufTensorHead>& tensors) {
  HeadBytes head;
  head.AddMagic();
  head.Add<uint32_t>(kVersion);
  head.Add<uint64_t>(tensors.size());
  head.Add<uint64_t>(pairs.size());
  for (const GgufPair& pair : pairs) head.AddPair(pair);
  uint64_t offset = 0;
  for (const GgufTensorHead& tensor : tensors) {
    head.AddText(tensor.name);
    head.Add(static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) head.Add(static_cast<uint64_t>(*size));
    head.Add(static_cast<uint32_t>(tensor.type));
    head.Add(offset);
    offset += Padded(tensor.ByteCount());
  }
  head.Pad();
  return head.bytes();
}

}  // namespace

int64_t GgufTensorHead::ElementCount() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

size_t GgufTensorHead::ByteCount() const {
  const GgmlBlock block = BlockOf(type);
  return static_cast<size_t>(ElementCount()) / block.elements * block.bytes;
}

Status WriteGguf(const std::filesystem::path& path, const std::vector<GgufPair>& pairs,
                 const std::vector<GgufTensorHead>& tensors, const FillGgufTensor& fill) {
  LORRY_TRY(CheckNames(pairs, tensors));
  LORRY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path.string()));
  LORRY_TRY(file.Write(Head(pairs, tensors)));
  std::vector<std::byte> blocks;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t bytes = tensors[i].ByteCount();
    blocks.assign(Padded(bytes), std::byte{0});
    LORRY_TRY(fill(i, std::span(blocks).first(bytes)));
    LORRY_TRY(file.Write(std::span<const std::byte>(blocks)));
  }
  return file.Commit();
}

}  // namespace lorry
