#include "cli/metered_time.h"

namespace lorry {

Result<std::vector<MeteredTime>> TimeOfEndedAttempts(Database& db) {
  // An attempt that still runs is posted when it ends; time whose attempt is not there any more is still somebody's.
  LORRY_ASSIGN_OR_RETURN(
      Rows rows,
      db.Ask("SELECT s.run, s.attempt, s.device, s.device_kind, s.class, sum(s.t1_ms - s.t0_ms) FROM usage_span s"
             " LEFT JOIN attempt a ON a.run = s.run AND a.attempt = s.attempt WHERE s.t0_ms < s.t1_ms AND a.ended_ms IS NOT 0"
             " GROUP BY s.run, s.attempt, s.device, s.device_kind, s.class"));
  std::vector<MeteredTime> metered;
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return metered;
    metered.push_back({.held = {.run = RunId(rows.Text(0)),
                                .attempt = AttemptNumber(static_cast<uint64_t>(rows.Integer(1))),
                                .device = DeviceId(rows.Text(2)),
                                .device_kind = rows.Text(3),
                                .usage_class = rows.Text(4)},
                       .time = DeviceMillis(rows.Integer(5))});
  }
}

}  // namespace lorry
