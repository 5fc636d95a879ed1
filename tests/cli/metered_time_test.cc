#include "cli/metered_time.h"

#include <catch2/catch.hpp>

#include "base/files.h"
#include "base/store/store.h"
#include "scheduler/event_log.h"

namespace lorry {
namespace {

TEST_CASE("what was metered of attempts that are over is read from the scheduler's tables") {
  TempDirectory home;
  auto store = Store::Open(home.path() + "/state.db", SchedulerMigrations(), StoreMode::kCreate);
  REQUIRE(store.ok());
  auto transaction = (*store)->Begin();
  REQUIRE(transaction->db()
              .RunScript(
                  "INSERT INTO attempt VALUES('r-1', 1, 1, 'w', 10, 90, 'done', '', x''), ('r-1', 2, 2, 'w', 10, 0, '', '', x'');"
                  "INSERT INTO usage_span VALUES('r-1', 1, 0, 'w/cpu-0', 'cpu', 'startup', 10, 20),"
                  "('r-1', 1, 1, 'w/cpu-0', 'cpu', 'productive', 20, 50), ('r-1', 1, 2, 'w/cpu-0', 'cpu', 'startup', 50, 55),"
                  "('r-1', 1, 3, 'w/cpu-0', 'cpu', 'drain', 55, 55), ('r-1', 2, 0, 'w/cpu-0', 'cpu', 'startup', 60, 70),"
                  "('r-2', 1, 0, 'w/cpu-1', 'cpu', 'productive', 1, 2)")
              .ok());
  REQUIRE(transaction->Commit().ok());
  auto reader = (*store)->Read();
  const auto metered = TimeOfEndedAttempts(reader->db());
  REQUIRE(metered.ok());
  // run | attempt | class | ms: the attempt that runs is left out, one that vanished is not
  const std::vector<std::tuple<std::string, uint64_t, std::string, int64_t>> expected = {
      {"r-1", 1, "productive", 30}, {"r-1", 1, "startup", 15}, {"r-2", 1, "productive", 1}};
  REQUIRE(metered->size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const MeteredTime& one = metered->at(i);
    CHECK(std::tuple(one.held.run.str(), one.held.attempt.value(), one.held.usage_class, one.time.count()) == expected[i]);
  }
}

}  // namespace
}  // namespace lorry
