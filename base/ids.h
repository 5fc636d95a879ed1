// Identities that do not mix: a RunId is not a WorkerId, an Epoch is not an AttemptNumber. Each is made in one line below.
// Values; ordered, hashable, printable with fmt.
#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace lorry {

template <class Tag>
class TextId {
 public:
  TextId() = default;
  explicit TextId(std::string text) : text_(std::move(text)) {}
  const std::string& str() const { return text_; }
  bool empty() const { return text_.empty(); }
  friend auto operator<=>(const TextId&, const TextId&) = default;
  friend bool operator==(const TextId&, const TextId&) = default;

 private:
  std::string text_;
};

template <class Tag>
class NumberId {
 public:
  constexpr NumberId() = default;
  constexpr explicit NumberId(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  constexpr NumberId Next() const { return NumberId(value_ + 1); }
  NumberId& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr auto operator<=>(const NumberId&, const NumberId&) = default;
  friend constexpr bool operator==(const NumberId&, const NumberId&) = default;

 private:
  uint64_t value_ = 0;
};

using RunId = TextId<struct RunIdTag>;                // "r-" and 12 letters or digits, given by the scheduler
using SubmissionId = TextId<struct SubmissionIdTag>;  // chosen by the client: the same one again is the same submission
using WorkerId = TextId<struct WorkerIdTag>;
using DeviceId = TextId<struct DeviceIdTag>;  // a GPU's UUID, or "WORKER/cpu-N" for a CPU slot
using ProjectName = TextId<struct ProjectNameTag>;
using UserName = TextId<struct UserNameTag>;

using AttemptNumber = NumberId<struct AttemptNumberTag>;  // from 1, within a run
using Epoch = NumberId<struct EpochTag>;                  // grows with every grant; a commit of an older one is refused
using Sequence = NumberId<struct SequenceTag>;            // position in the event log
using LeaseId = NumberId<struct LeaseIdTag>;
using PriceId = NumberId<struct PriceIdTag>;
using RowIndex = NumberId<struct RowIndexTag>;  // from 0, a row of a batch input

}  // namespace lorry

template <class Tag>
struct std::hash<lorry::TextId<Tag>> {
  size_t operator()(const lorry::TextId<Tag>& id) const { return std::hash<std::string>()(id.str()); }
};
template <class Tag>
struct std::hash<lorry::NumberId<Tag>> {
  size_t operator()(const lorry::NumberId<Tag>& id) const { return std::hash<uint64_t>()(id.value()); }
};
template <class Tag>
struct fmt::formatter<lorry::TextId<Tag>> : fmt::formatter<std::string> {
  auto format(const lorry::TextId<Tag>& id, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(id.str(), context);
  }
};
template <class Tag>
struct fmt::formatter<lorry::NumberId<Tag>> : fmt::formatter<uint64_t> {
  auto format(const lorry::NumberId<Tag>& id, fmt::format_context& context) const {
    return fmt::formatter<uint64_t>::format(id.value(), context);
  }
};
