// Writes described sections (field_reader.h) as JSON: the same keys, every value written out, optional ones without a value left
// out. Durations become "7200s", sizes "24000000000B", dollars text with their decimals: nothing passes through a double.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "configs/field_reader.h"

namespace lorry {

class FieldWriter {
 public:
  explicit FieldWriter(nlohmann::json& out) : out_(out) { out_ = nlohmann::json::object(); }

  template <class T>
  void Field(std::string_view key, T& value, const FieldRule& = {}) {
    Put(std::string(key), value);
  }
  void Unbuilt(std::string_view) {}
  void Known(std::string_view) {}

 private:
  template <class T>
  void Put(const std::string& key, T& value) {
    if constexpr (WordEnum<T>) {
      out_[key] = std::string(EnumWords(value)[static_cast<size_t>(value)]);
    } else if constexpr (Described<T, FieldWriter>) {
      FieldWriter below(out_[key]);
      Describe(below, value);
    } else {
      out_[key] = value;
    }
  }
  template <class T>
  void Put(const std::string& key, std::optional<T>& value) {
    if (value) Put(key, *value);
  }
  template <Described<FieldWriter> S>
  void Put(const std::string& key, std::vector<S>& values) {
    nlohmann::json& list = out_[key] = nlohmann::json::array();
    for (S& value : values) {
      FieldWriter below(list.emplace_back());
      Describe(below, value);
    }
  }
  template <class Number>
    requires std::is_arithmetic_v<Number>
  void Put(const std::string& key, std::map<std::string, Number>& values) {
    if (!values.empty()) out_[key] = values;
  }
  void Put(const std::string& key, std::string& value) {
    if (!value.empty()) out_[key] = value;
  }
  void Put(const std::string& key, Millis& value) { out_[key] = fmt::format("{}s", value.count() / 1000); }
  void Put(const std::string& key, Bytes& value) { out_[key] = fmt::format("{}B", value.count()); }
  void Put(const std::string& key, Dollars& value) {
    out_[key] = ToString(UnitPrice::FromE9(static_cast<int64_t>(value.e18() / 1'000'000'000)));
  }

  nlohmann::json& out_;
};

}  // namespace lorry
