#include "ledger/usage_file.h"

#include <limits>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace lorry {
namespace {

using nlohmann::json;

Error ItemError(size_t item, std::string_view key, std::string_view expected) {
  Error error = MakeError(ErrorCode::kData, fmt::format("item {} of the usage: {}", item + 1, expected));
  error.key = key;
  return error;
}

// Reads keys of one item; a key that is not there keeps the default, a required one is an error.
class ItemReader {
 public:
  ItemReader(const json& value, size_t item) : value_(value), item_(item) {}

  Result<std::string> Text(const char* key, bool required) const {
    const auto found = value_.find(key);
    if (found == value_.end() || found->is_null()) {
      if (required) return ItemError(item_, key, fmt::format("\"{}\" is missing", key));
      return std::string();
    }
    if (!found->is_string()) return ItemError(item_, key, fmt::format("\"{}\" is not a text", key));
    return found->get<std::string>();
  }

  Result<int64_t> Whole(const char* key, std::optional<int64_t> otherwise) const {
    const auto found = value_.find(key);
    if (found == value_.end() && otherwise) return *otherwise;
    // A year of 10^6 years is no time stamp; the bound also keeps every sum of device time in 64 bits.
    constexpr int64_t kMost = int64_t{1} << 55;
    const bool whole =
        found != value_.end() && found->is_number_integer() && !(found->is_number_unsigned() && found->get<uint64_t>() > kMost);
    if (!whole || found->get<int64_t>() < 0) {
      return ItemError(item_, key, fmt::format("\"{}\" is not a whole number from 0", key));
    }
    return found->get<int64_t>();
  }

 private:
  const json& value_;
  size_t item_;
};

Result<UsageSpan> ParseSpan(const json& value, size_t item) {
  if (!value.is_object()) return ItemError(item, "usage", "a span is not an object");
  const ItemReader reader(value, item);
  UsageSpan span;
  LORRY_ASSIGN_OR_RETURN(std::string device, reader.Text("device_id", true));
  LORRY_ASSIGN_OR_RETURN(span.device_kind, reader.Text("device_kind", true));
  LORRY_ASSIGN_OR_RETURN(const std::string usage_class, reader.Text("class", true));
  LORRY_ASSIGN_OR_RETURN(std::string category, reader.Text("pricing_category", false));
  LORRY_ASSIGN_OR_RETURN(const int64_t t0, reader.Whole("t0_ms", std::nullopt));
  LORRY_ASSIGN_OR_RETURN(const int64_t t1, reader.Whole("t1_ms", std::nullopt));
  auto parsed_class = ParseUsageClass(usage_class);
  if (!parsed_class.ok()) return ItemError(item, "class", parsed_class.error().message);
  if (t1 < t0) return ItemError(item, "t1_ms", fmt::format("t1_ms {} is before t0_ms {}", t1, t0));
  span.device = DeviceId(std::move(device));
  span.usage_class = *parsed_class;
  if (!category.empty()) span.pricing_category = std::move(category);
  span.t0 = Instant(t0);
  span.t1 = Instant(t1);
  return span;
}

class UsageCollector {
 public:
  Status Take(const json& value, size_t item) {
    if (!value.is_object()) return ItemError(item, "", "it is not an object");
    const ItemReader reader(value, item);
    LORRY_ASSIGN_OR_RETURN(RunAccount account, Account(reader));
    LORRY_ASSIGN_OR_RETURN(const int64_t attempt, reader.Whole("attempt", 1));
    std::vector<UsageSpan>& spans = SpansOf(std::move(account), AttemptNumber(static_cast<uint64_t>(attempt)));
    const auto nested = value.find("usage");
    if (nested == value.end()) {
      LORRY_ASSIGN_OR_RETURN(UsageSpan span, ParseSpan(value, item));
      spans.push_back(std::move(span));
      return OkStatus();
    }
    if (!nested->is_array()) return ItemError(item, "usage", "\"usage\" is not a list");
    for (const json& one : *nested) {
      LORRY_ASSIGN_OR_RETURN(UsageSpan span, ParseSpan(one, item));
      spans.push_back(std::move(span));
    }
    return OkStatus();
  }

  std::vector<RecordedUsage> Finish() && { return std::move(recorded_); }

 private:
  static Result<RunAccount> Account(const ItemReader& reader) {
    RunAccount account;
    LORRY_ASSIGN_OR_RETURN(std::string run, reader.Text("run", false));
    account.run = RunId(std::move(run));
    LORRY_ASSIGN_OR_RETURN(account.name, reader.Text("name", false));
    LORRY_ASSIGN_OR_RETURN(account.team, reader.Text("team", false));
    LORRY_ASSIGN_OR_RETURN(account.project, reader.Text("project", false));
    LORRY_ASSIGN_OR_RETURN(account.model, reader.Text("model", false));
    return account;
  }

  std::vector<UsageSpan>& SpansOf(RunAccount account, AttemptNumber attempt) {
    const auto [it, is_new] = index_.try_emplace({account.run.str(), attempt.value()}, recorded_.size());
    if (is_new) {
      AttemptUsage usage{.run = account.run, .attempt = attempt, .spans = {}};
      recorded_.push_back({std::move(account), std::move(usage)});
    }
    return recorded_[it->second].usage.spans;
  }

  std::map<std::pair<std::string, uint64_t>, size_t> index_;
  std::vector<RecordedUsage> recorded_;
};

}  // namespace

Result<std::vector<RecordedUsage>> ParseUsageFile(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const json document, ParseJson(text, {.max_bytes = size_t{1} << 30}));
  const json* items = &document;
  if (document.is_object()) {
    const auto usage = document.find("usage");
    const auto rows = document.find("rows");
    if (usage == document.end() && rows == document.end()) {
      return MakeError(ErrorCode::kData, "the usage file has neither \"usage\" nor \"rows\"",
                       "give it the output of `lorry cost --by attempt --json`");
    }
    items = usage != document.end() ? &*usage : &*rows;
  }
  if (!items->is_array()) return MakeError(ErrorCode::kData, "the usage is not a list");
  UsageCollector collector;
  for (size_t i = 0; i < items->size(); ++i) LORRY_TRY(collector.Take((*items)[i], i));
  return std::move(collector).Finish();
}

Result<std::vector<ReplayedAttempt>> ReplayUsage(const std::vector<RecordedUsage>& usage, const PriceBook& prices,
                                                 Instant known_at) {
  std::vector<ReplayedAttempt> attempts;
  for (const RecordedUsage& recorded : usage) {
    auto slices = CutIntoSlices(recorded.usage, prices, known_at);
    if (!slices.ok()) {
      return Because(fmt::format("run {}, attempt {}", recorded.account.run, recorded.usage.attempt), std::move(slices).error());
    }
    attempts.push_back({recorded.account, recorded.usage.attempt, std::move(*slices)});
  }
  return attempts;
}

Result<CostReport> ReportReplayed(const std::vector<ReplayedAttempt>& attempts, const CostQuery& query) {
  CostReportBuilder builder(query);
  for (const ReplayedAttempt& attempt : attempts) {
    for (const UsageSlice& slice : attempt.slices) LORRY_TRY(builder.Add(attempt.account, {attempt.attempt, slice}));
  }
  return std::move(builder).Build();
}

}  // namespace lorry
