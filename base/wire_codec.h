// Message bodies as bytes: one list of fields per struct (LORRY_WIRE_FIELDS) serves encoding and decoding.
//
// Integers are little-endian and fixed-width, an enum is one byte, text and lists have a 32-bit count before them, a
// nested struct has its 32-bit size before it. A later minor version may append fields to any struct: a reader skips what
// it does not know, and fields that are not there keep their defaults. A decoder never reads past its input, never
// allocates more than a small multiple of the input's size, and ends in an Error, not a crash, on any bytes.
// docs/formats/wire.md describes the form; tests/base/wire_test.cc reads stored captures of it.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "base/units.h"

// Written once inside a struct: its fields in wire order. New fields go to the end.
#define LORRY_WIRE_FIELDS(...)          \
  template <class Visitor>              \
  void Fields(Visitor& visitor) {       \
    visitor(__VA_ARGS__);               \
  }                                     \
  template <class Visitor>              \
  void Fields(Visitor& visitor) const { \
    visitor(__VA_ARGS__);               \
  }

namespace lorry::wire {

// The largest enumerator of an enum on the wire; anything above it is refused. Specialize per enum.
template <class Enum>
inline constexpr Enum kLastOf = Enum{};

namespace internal {
template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;
template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <class T>
concept TextLike = requires(const T& id) {
  { id.str() } -> std::convertible_to<std::string_view>;
};
template <class T>
concept NumberLike = requires(const T& id) {
  { id.value() } -> std::integral;
} && !kIsOptional<T>;
}  // namespace internal

class Encoder {
 public:
  explicit Encoder(std::string* out) : out_(out) {}

  template <class... T>
  void operator()(const T&... fields) {
    (Put(fields), ...);
  }

 private:
  template <class Int>
  void PutInteger(Int value) {
    unsigned char bytes[sizeof(Int)];
    auto bits = static_cast<std::make_unsigned_t<Int>>(value);
    for (size_t i = 0; i < sizeof(Int); ++i) bytes[i] = static_cast<unsigned char>(bits >> (8 * i));
    out_->append(reinterpret_cast<const char*>(bytes), sizeof(Int));
  }
  void PutText(std::string_view text) {
    PutInteger(static_cast<uint32_t>(text.size()));
    out_->append(text);
  }

  template <class T>
  void Put(const T& field) {
    if constexpr (std::is_same_v<T, bool>) {
      out_->push_back(field ? 1 : 0);
    } else if constexpr (std::is_enum_v<T>) {
      out_->push_back(static_cast<char>(field));
    } else if constexpr (std::is_integral_v<T>) {
      PutInteger(field);
    } else if constexpr (std::is_same_v<T, std::string>) {
      PutText(field);
    } else if constexpr (std::is_same_v<T, Digest>) {
      out_->append(reinterpret_cast<const char*>(field.bytes().data()), field.bytes().size());
    } else if constexpr (std::is_same_v<T, Instant>) {
      PutInteger(field.millis());
    } else if constexpr (internal::kIsVector<T>) {
      PutInteger(static_cast<uint32_t>(field.size()));
      for (const auto& item : field) Put(item);
    } else if constexpr (internal::kIsOptional<T>) {
      Put(field.has_value());
      if (field) Put(*field);
    } else if constexpr (internal::TextLike<T>) {
      PutText(field.str());
    } else if constexpr (internal::NumberLike<T>) {
      PutInteger(field.value());
    } else {
      PutNested(field);
    }
  }
  template <class T>
  void PutNested(const T& field) {
    const size_t at = out_->size();
    PutInteger(uint32_t{0});
    field.Fields(*this);
    const auto size = static_cast<uint32_t>(out_->size() - at - sizeof(uint32_t));
    for (size_t i = 0; i < sizeof(size); ++i) (*out_)[at + i] = static_cast<char>(size >> (8 * i));
  }

  std::string* out_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}

  // False once any field was malformed; error() then says which kind of thing.
  bool ok() const { return problem_.empty(); }
  std::string_view problem() const { return problem_; }

  template <class... T>
  void operator()(T&... fields) {
    (Take(fields), ...);
  }

 private:
  void Fail(std::string_view problem) {
    if (ok()) problem_ = problem;
    rest_ = {};
  }
  std::string_view TakeBytes(size_t size) {
    if (size > rest_.size()) {
      Fail("ends inside a field");
      return {};
    }
    std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }
  template <class Int>
  Int TakeInteger() {
    std::string_view bytes = TakeBytes(sizeof(Int));
    std::make_unsigned_t<Int> value = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      value |= static_cast<std::make_unsigned_t<Int>>(static_cast<std::make_unsigned_t<Int>>(static_cast<unsigned char>(bytes[i]))
                                                      << (8 * i));
    }
    return static_cast<Int>(value);
  }
  std::string_view TakeText() { return TakeBytes(TakeInteger<uint32_t>()); }

  // At the end of its struct a field is one that the sender did not know: it keeps its default.
  template <class T>
  void Take(T& field) {
    if (!ok() || rest_.empty()) return;
    TakeValue(field);
  }

  template <class T>
  void TakeValue(T& field) {
    if constexpr (std::is_same_v<T, bool>) {
      const auto byte = TakeInteger<uint8_t>();
      if (byte > 1) Fail("a flag is neither 0 nor 1");
      field = byte == 1;
    } else if constexpr (std::is_enum_v<T>) {
      const auto byte = TakeInteger<uint8_t>();
      if (byte > static_cast<uint8_t>(kLastOf<T>)) {
        Fail("a named value is not known here");
      } else {
        field = static_cast<T>(byte);
      }
    } else if constexpr (std::is_integral_v<T>) {
      field = TakeInteger<T>();
    } else if constexpr (std::is_same_v<T, std::string>) {
      field = std::string(TakeText());
    } else if constexpr (std::is_same_v<T, Digest>) {
      std::array<uint8_t, 32> digest{};
      std::string_view bytes = TakeBytes(digest.size());
      if (!ok()) return;
      std::memcpy(digest.data(), bytes.data(), bytes.size());
      field = Digest(digest);
    } else if constexpr (std::is_same_v<T, Instant>) {
      field = Instant(TakeInteger<int64_t>());
    } else if constexpr (internal::kIsVector<T>) {
      TakeList(field);
    } else if constexpr (internal::kIsOptional<T>) {
      bool present = false;
      TakeValue(present);
      if (ok() && present) TakeValue(field.emplace());
    } else if constexpr (internal::TextLike<T>) {
      field = T(std::string(TakeText()));
    } else if constexpr (internal::NumberLike<T>) {
      field = T(TakeInteger<std::decay_t<decltype(field.value())>>());
    } else {
      TakeNested(field);
    }
  }
  template <class T>
  void TakeList(std::vector<T>& list) {
    const auto count = TakeInteger<uint32_t>();
    if (count > rest_.size()) return Fail("a list is longer than its message");
    list.clear();
    for (uint32_t i = 0; i < count && ok(); ++i) TakeValue(list.emplace_back());
  }
  template <class T>
  void TakeNested(T& field) {
    Decoder inner(TakeBytes(TakeInteger<uint32_t>()));
    if (!ok()) return;
    field.Fields(inner);
    if (!inner.ok()) Fail(inner.problem());
  }

  std::string_view rest_;
  std::string_view problem_;  // a literal
};

}  // namespace lorry::wire
