#include "model/format/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

// Type numbers of metadata values.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

constexpr uint32_t kMagic = 0x46554747;  // "GGUF", little-endian
constexpr uint32_t kMagicSwapped = 0x47475546;
constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr uint32_t kMaxDimensions = 4;
constexpr size_t kSmallestPair = 8 + 4 + 1;  // key length, type, one byte of value
constexpr size_t kSmallestTensor = 8 + 4 + 8 + 4 + 8;

bool IsKnownType(uint32_t number) {
  switch (static_cast<GgmlType>(number)) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kQ4_0:
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ8_0:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
    case GgmlType::kBF16:
      return true;
  }
  return false;
}

size_t FixedSize(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool:
      return 1;
    case ValueType::kU16:
    case ValueType::kI16:
      return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32:
      return 4;
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64:
    case ValueType::kText:  // of these two, the least that one can take
    case ValueType::kArray:
      return 8;
  }
  return 0;  // not a type of the format
}

}  // namespace

// Reads one file from front to back; every read checks what is left.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes) { file_.name_ = name; }

  Result<GgufFile> Parse() {
    uint64_t tensors = 0, pairs = 0;
    LORRY_TRY(ReadHead(&tensors, &pairs));
    for (uint64_t i = 0; i < pairs; ++i) LORRY_TRY(ReadPair());
    for (uint64_t i = 0; i < tensors; ++i) LORRY_TRY(ReadTensorHead());
    LORRY_TRY(PlaceTensors());
    return std::move(file_);
  }

 private:
  Error Fault(std::string message, ErrorCode code = ErrorCode::kData) const {
    Error error = MakeError(code, std::move(message));
    error.file = file_.name_;
    return error;
  }

  size_t Left() const { return bytes_.size() - position_; }

  template <class T>
  Status Read(T* value) {
    if (Left() < sizeof(T)) return Fault(fmt::format("the file ends at byte {} inside its header", bytes_.size()));
    std::memcpy(value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return OkStatus();
  }

  Status ReadText(std::string* text, uint64_t max_bytes) {
    uint64_t length = 0;
    LORRY_TRY(Read(&length));
    if (length > max_bytes || length > Left()) {
      return Fault(fmt::format("a text at byte {} claims {} bytes; {} are left", position_ - 8, length, Left()));
    }
    text->assign(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return OkStatus();
  }

  Status ReadHead(uint64_t* tensors, uint64_t* pairs) {
    uint32_t magic = 0, version = 0;
    if (Left() < 24) return Fault(fmt::format("{} bytes are too few for a GGUF file", bytes_.size()));
    LORRY_TRY(Read(&magic));
    LORRY_TRY(Read(&version));
    if (magic == kMagicSwapped) return Fault("a big-endian GGUF file is not supported", ErrorCode::kUnsupported);
    if (magic != kMagic) return Fault("not a GGUF file: it does not begin with \"GGUF\"");
    if (version != 2 && version != 3) {
      return Fault(fmt::format("GGUF version {} is not supported; 2 and 3 are", version), ErrorCode::kUnsupported);
    }
    LORRY_TRY(Read(tensors));
    LORRY_TRY(Read(pairs));
    if (*pairs > Left() / kSmallestPair) return Fault(fmt::format("{} metadata keys do not fit into the file", *pairs));
    if (*tensors > Left() / kSmallestTensor) return Fault(fmt::format("{} tensors do not fit into the file", *tensors));
    return OkStatus();
  }

  Status ReadPair() {
    std::string key;
    uint32_t type = 0;
    LORRY_TRY(ReadText(&key, kMaxKeyBytes));
    LORRY_TRY(Read(&type));
    GgufValue value;
    LORRY_TRY(ReadValue(key, static_cast<ValueType>(type), &value));
    if (!file_.metadata_.emplace(key, std::move(value)).second) {
      return Fault(fmt::format("metadata key \"{}\" is there twice", EscapeControl(key)));
    }
    return OkStatus();
  }

  Status ReadValue(const std::string& key, ValueType type, GgufValue* value) {
    switch (type) {
      case ValueType::kText: {
        std::string text;
        LORRY_TRY(ReadText(&text, Left()));
        *value = std::move(text);
        return OkStatus();
      }
      case ValueType::kArray:
        return ReadArray(key, value);
      case ValueType::kBool: {
        int64_t number = 0;
        LORRY_TRY(ReadWhole(ValueType::kU8, &number));
        *value = number != 0;
        return OkStatus();
      }
      case ValueType::kF32:
      case ValueType::kF64: {
        double number = 0;
        LORRY_TRY(ReadFloat(type, &number));
        *value = number;
        return OkStatus();
      }
      default:
        break;
    }
    if (FixedSize(type) == 0) {
      return Fault(fmt::format("metadata key \"{}\" has value type {}, which GGUF does not have", EscapeControl(key),
                               static_cast<uint32_t>(type)));
    }
    if (type == ValueType::kU64) return ReadU64(value);
    int64_t number = 0;
    LORRY_TRY(ReadWhole(type, &number));
    *value = number;
    return OkStatus();
  }

  Status ReadU64(GgufValue* value) {
    uint64_t number = 0;
    LORRY_TRY(Read(&number));
    if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      *value = static_cast<int64_t>(number);
    } else {
      *value = static_cast<double>(number);
    }
    return OkStatus();
  }

  template <class T>
  Status ReadAs(int64_t* value) {
    T stored = 0;
    LORRY_TRY(Read(&stored));
    *value = static_cast<int64_t>(stored);  // NOLINT(bugprone-signed-char-misuse): an int8 keeps its sign
    return OkStatus();
  }

  Status ReadWhole(ValueType type, int64_t* value) {
    switch (type) {
      case ValueType::kU8:
      case ValueType::kBool:
        return ReadAs<uint8_t>(value);
      case ValueType::kI8:
        return ReadAs<int8_t>(value);
      case ValueType::kU16:
        return ReadAs<uint16_t>(value);
      case ValueType::kI16:
        return ReadAs<int16_t>(value);
      case ValueType::kU32:
        return ReadAs<uint32_t>(value);
      case ValueType::kI32:
        return ReadAs<int32_t>(value);
      default:
        return ReadAs<int64_t>(value);  // u64 in an array: the tokenizer's arrays never need its top bit
    }
  }

  Status ReadFloat(ValueType type, double* value) {
    if (type == ValueType::kF64) return Read(value);
    float number = 0;
    LORRY_TRY(Read(&number));
    *value = number;
    return OkStatus();
  }

  Status ReadArray(const std::string& key, GgufValue* value) {
    uint32_t type_number = 0;
    uint64_t count = 0;
    LORRY_TRY(Read(&type_number));
    LORRY_TRY(Read(&count));
    const auto type = static_cast<ValueType>(type_number);
    const size_t least = FixedSize(type);
    if (least == 0 || type == ValueType::kArray) {
      return Fault(fmt::format("metadata key \"{}\" is an array of value type {}", EscapeControl(key), type_number),
                   ErrorCode::kUnsupported);
    }
    if (count > Left() / least) {
      return Fault(fmt::format("metadata key \"{}\" claims {} values; {} bytes are left", EscapeControl(key), count, Left()));
    }
    if (type == ValueType::kText) {
      std::vector<std::string> texts(count);
      for (std::string& text : texts) LORRY_TRY(ReadText(&text, Left()));
      *value = std::move(texts);
    } else if (type == ValueType::kF32 || type == ValueType::kF64) {
      std::vector<double> numbers(count);
      for (double& number : numbers) LORRY_TRY(ReadFloat(type, &number));
      *value = std::move(numbers);
    } else {
      std::vector<int64_t> numbers(count);
      for (int64_t& number : numbers) LORRY_TRY(ReadWhole(type, &number));
      *value = std::move(numbers);
    }
    return OkStatus();
  }

  // Name, dimensions (fastest first), type, offset from the start of the data.
  Status ReadTensorHead() {
    GgufTensor tensor;
    uint32_t dimensions = 0, type = 0;
    uint64_t offset = 0;
    LORRY_TRY(ReadText(&tensor.name, kMaxKeyBytes));
    const std::string shown = EscapeControl(tensor.name);
    LORRY_TRY(Read(&dimensions));
    if (dimensions == 0 || dimensions > kMaxDimensions) {
      return Fault(fmt::format("tensor \"{}\" has {} dimensions; 1 to {} are possible", shown, dimensions, kMaxDimensions));
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < dimensions; ++i) {
      uint64_t size = 0;
      LORRY_TRY(Read(&size));
      if (size == 0 || size > uint64_t{1} << 40 || elements > (uint64_t{1} << 48) / size) {
        return Fault(fmt::format("tensor \"{}\" has an impossible shape", shown));
      }
      elements *= size;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
    }
    LORRY_TRY(Read(&type));
    LORRY_TRY(Read(&offset));
    if (!IsKnownType(type)) {
      return Fault(fmt::format("tensor \"{}\" has block type {}, which is not supported", shown, type), ErrorCode::kUnsupported);
    }
    tensor.type = static_cast<GgmlType>(type);
    if (static_cast<uint64_t>(tensor.shape.back()) % BlockOf(tensor.type).elements != 0) {
      return Fault(fmt::format("tensor \"{}\" has rows of {}, no multiple of {}'s block of {}", shown, tensor.shape.back(),
                               NameOf(tensor.type), BlockOf(tensor.type).elements));
    }
    if (!file_.index_.emplace(tensor.name, file_.tensors_.size()).second) {
      return Fault(fmt::format("tensor \"{}\" is there twice", shown));
    }
    offsets_.push_back(offset);
    file_.tensors_.push_back(std::move(tensor));
    return OkStatus();
  }

  Status PlaceTensors() {
    LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> stated, file_.Int("general.alignment"));
    const int64_t alignment = stated.value_or(32);
    if (alignment <= 0 || alignment > 1 << 20) return Fault(fmt::format("general.alignment {} is impossible", alignment));
    const uint64_t step = static_cast<uint64_t>(alignment);
    const uint64_t data_start = (position_ + step - 1) / step * step;
    const uint64_t data_bytes = bytes_.size() > data_start ? bytes_.size() - data_start : 0;
    std::vector<std::pair<uint64_t, size_t>> by_offset;
    for (size_t i = 0; i < file_.tensors_.size(); ++i) {
      GgufTensor& tensor = file_.tensors_[i];
      const GgmlBlock block = BlockOf(tensor.type);
      const uint64_t size = static_cast<uint64_t>(tensor.ElementCount()) / block.elements * block.bytes;
      if (offsets_[i] % step != 0) return Fault(fmt::format("tensor \"{}\" is not aligned", EscapeControl(tensor.name)));
      if (offsets_[i] > data_bytes || size > data_bytes - offsets_[i]) {
        return Fault(fmt::format("tensor \"{}\" reaches beyond the end of the file; it was cut or is damaged",
                                 EscapeControl(tensor.name)));
      }
      tensor.bytes = bytes_.subspan(data_start + offsets_[i], size);
      by_offset.emplace_back(offsets_[i], i);
    }
    std::sort(by_offset.begin(), by_offset.end());
    for (size_t i = 1; i < by_offset.size(); ++i) {
      const GgufTensor& before = file_.tensors_[by_offset[i - 1].second];
      if (by_offset[i - 1].first + before.bytes.size() > by_offset[i].first) {
        return Fault(fmt::format("tensors \"{}\" and \"{}\" overlap", EscapeControl(before.name),
                                 EscapeControl(file_.tensors_[by_offset[i].second].name)));
      }
    }
    return OkStatus();
  }

  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  std::vector<uint64_t> offsets_;
  GgufFile file_;
};

int64_t GgufTensor::ElementCount() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Result<GgufFile> GgufFile::Open(const std::filesystem::path& path) {
  LORRY_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  auto shared = std::make_shared<const MappedFile>(std::move(mapped));
  LORRY_ASSIGN_OR_RETURN(GgufFile file, Parse(shared->bytes(), path.string()));
  file.file_ = std::move(shared);
  return file;
}

Result<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes, const std::string& name) {
  return GgufParser(bytes, name).Parse();
}

const GgufTensor* GgufFile::Find(std::string_view tensor) const {
  const auto found = index_.find(tensor);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

namespace {

Error WrongType(const std::string& file, std::string_view key, std::string_view expected) {
  Error error = MakeError(ErrorCode::kData, fmt::format("is not {}", expected));
  error.file = file;
  error.key = EscapeControl(key);
  return error;
}

template <class T>
const T* Values(const std::map<std::string, GgufValue, std::less<>>& metadata, std::string_view key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : std::get_if<T>(&found->second);
}

}  // namespace

Result<std::optional<std::string>> GgufFile::Text(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return std::optional<std::string>();
  const auto* text = std::get_if<std::string>(&found->second);
  if (text == nullptr || !IsValidUtf8(*text)) return WrongType(name_, key, "a UTF-8 text");
  return std::optional<std::string>(*text);
}

Result<std::optional<int64_t>> GgufFile::Int(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return std::optional<int64_t>();
  const auto* number = std::get_if<int64_t>(&found->second);
  if (number == nullptr) return WrongType(name_, key, "a whole number");
  return std::optional<int64_t>(*number);
}

Result<std::optional<double>> GgufFile::Float(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return std::optional<double>();
  if (const auto* whole = std::get_if<int64_t>(&found->second)) return std::optional<double>(static_cast<double>(*whole));
  const auto* number = std::get_if<double>(&found->second);
  if (number == nullptr || !std::isfinite(*number)) return WrongType(name_, key, "a finite number");
  return std::optional<double>(*number);
}

Result<std::optional<bool>> GgufFile::Bool(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return std::optional<bool>();
  const auto* flag = std::get_if<bool>(&found->second);
  if (flag == nullptr) return WrongType(name_, key, "true or false");
  return std::optional<bool>(*flag);
}

const std::vector<std::string>* GgufFile::Texts(std::string_view key) const {
  return Values<std::vector<std::string>>(metadata_, key);
}
const std::vector<int64_t>* GgufFile::Ints(std::string_view key) const { return Values<std::vector<int64_t>>(metadata_, key); }
const std::vector<double>* GgufFile::Floats(std::string_view key) const { return Values<std::vector<double>>(metadata_, key); }

}  // namespace lorry
