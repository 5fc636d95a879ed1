// ledger_replay USAGE.json PRICES.json: books made of recorded usage, slice by slice, for tests/live/ledger_oracle.py.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "ledger/usage_file.h"
#include "tests/ledger/price_rows.h"

namespace {

lorry::Result<nlohmann::json> Replay(const char* usage_path, const char* prices_path) {
  using namespace lorry;
  LORRY_ASSIGN_OR_RETURN(const std::string usage_text, ReadFile(usage_path));
  LORRY_ASSIGN_OR_RETURN(const std::string prices_text, ReadFile(prices_path));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json prices_json, ParseJson(prices_text));
  LORRY_ASSIGN_OR_RETURN(const PriceBook prices, test::PriceBookOf(prices_json.at("prices")));
  LORRY_ASSIGN_OR_RETURN(const std::vector<RecordedUsage> usage, ParseUsageFile(usage_text));
  LORRY_ASSIGN_OR_RETURN(const std::vector<ReplayedAttempt> attempts, ReplayUsage(usage, prices, SystemClock().Now()));
  return nlohmann::json{{"slices", test::SlicesJson(attempts)},
                        {"total_usd", ToDecimalString(ReportReplayed(attempts, {})->total)}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: ledger_replay USAGE.json PRICES.json\n");
    return 2;
  }
  const auto replayed = Replay(argv[1], argv[2]);
  if (!replayed.ok()) {
    std::fprintf(stderr, "%s\n", replayed.error().Format().c_str());
    return 1;
  }
  std::puts(replayed->dump().c_str());
  return 0;
}
