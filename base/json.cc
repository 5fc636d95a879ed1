#include "base/json.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/text.h"

namespace lorry {
namespace {

using nlohmann::json;

// Watches nlohmann's events for what its DOM takes in silence: repeated keys, depth, infinite numbers.
class StrictSax : public nlohmann::detail::json_sax_dom_parser<json> {
  using Base = nlohmann::detail::json_sax_dom_parser<json>;

 public:
  StrictSax(json& root, int max_depth) : Base(root, /*allow_exceptions=*/false), max_depth_(max_depth) {}

  bool start_object(std::size_t elements) {
    keys_.emplace_back();
    return Enter() && Base::start_object(elements);
  }
  bool end_object() {
    keys_.pop_back();
    --depth_;
    return Base::end_object();
  }
  bool start_array(std::size_t elements) { return Enter() && Base::start_array(elements); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool key(json::string_t& text) {
    if (!keys_.back().insert(text).second) {
      repeated_key_ = text;
      return Fail("the key stands twice");
    }
    return Base::key(text);
  }
  bool number_float(json::number_float_t value, const json::string_t& text) {
    if (!std::isfinite(value)) return Fail("the number " + EscapeControl(text, 40) + " is out of range");
    return Base::number_float(value, text);
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception& error) {
    error_position_ = position;
    if (message_.empty()) {
      // nlohmann's own name of the error and its place are cut off: the place is the Error's, which knows the file's lines.
      std::string text = error.what();
      text.erase(std::min(text.find("; expected"), text.size()));
      if (const size_t bracket = text.find("] "); bracket != std::string::npos) text.erase(0, bracket + 2);
      if (const size_t place = text.find(": "); text.starts_with("parse error at") && place != std::string::npos) {
        text.erase(0, place + 2);
      }
      message_ = "not JSON: " + EscapeControl(text, 200);
    }
    return Base::parse_error(position, token, error);
  }

  const std::string& message() const { return message_; }
  const std::string& repeated_key() const { return repeated_key_; }
  size_t error_position() const { return error_position_; }

 private:
  bool Enter() { return ++depth_ <= max_depth_ || Fail(fmt::format("nested deeper than {} levels", max_depth_)); }
  bool Fail(std::string message) {
    message_ = std::move(message);
    return false;
  }

  int max_depth_;
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string message_;
  std::string repeated_key_;
  size_t error_position_ = 0;
};

Error AtOffset(std::string_view text, size_t offset, std::string message) {
  Error error = MakeError(ErrorCode::kData, std::move(message));
  error.line = 1;
  size_t line_start = 0;
  for (size_t i = 0; i < std::min(offset, text.size()); ++i) {
    if (text[i] == '\n') ++error.line, line_start = i + 1;
  }
  error.column = static_cast<int>(std::min(offset, text.size()) - line_start) + 1;
  return error;
}

}  // namespace

Result<json> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return MakeError(ErrorCode::kData, fmt::format("{} bytes of JSON; at most {} are read", text.size(), limits.max_bytes));
  }
  if (const auto bad = FirstInvalidUtf8(text)) return AtOffset(text, *bad, "not UTF-8");
  json root;
  StrictSax sax(root, limits.max_depth);
  if (json::sax_parse(text.begin(), text.end(), &sax)) return root;
  Error error =
      AtOffset(text, sax.error_position() > 0 ? sax.error_position() - 1 : 0, sax.message().empty() ? "not JSON" : sax.message());
  if (sax.error_position() == 0) error.line = error.column = 0;
  error.key = EscapeControl(sax.repeated_key());
  return error;
}

std::string CanonicalJson(const json& value) { return value.dump(-1, ' ', /*ensure_ascii=*/false); }

std::string ShownJson(const json& value) { return value.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace); }

}  // namespace lorry
