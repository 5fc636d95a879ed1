// How fast the scheduler alone hands out elements and makes their starts and ends durable, over real encrypted sockets, with a
// worker that does nothing. Hidden: run it with the tag [rate]. bench/dispatch.py measures the whole road.
#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "base/clock.h"
#include "base/files.h"
#include "base/transport/scheduler_client.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/hand_worker.h"

namespace lorry {
namespace {

TEST_CASE("no-ops a second", "[.rate]") {
  constexpr uint64_t kElements = 200000;
  TempDirectory home;
  SchedulerOptions options;
  options.home = home.path();
  options.client_port = options.worker_port = 0;
  auto scheduler = Scheduler::Start(std::move(options));
  REQUIRE(scheduler.ok());
  SchedulerClient client =
      std::move(*SchedulerClient::Connect(*SchedulerClientOptions::ForHome(home.path(), (*scheduler)->client_endpoint())));
  HandWorker worker(home.path(), (*scheduler)->worker_endpoint());
  worker.Hello(8);
  const std::string job = R"({"kind":"command","name":"rate","project":"bench","argv":[":"],"array":)" +
                          std::to_string(kElements) + R"(,"resources":{"cpus":1}})";
  const int64_t begin = SystemClock().MonotonicMillis();
  auto submitted = client.Submit({SubmissionId("rate"), job, {}});
  REQUIRE(submitted.ok());
  const auto grant = worker.Expect<wire::Grant>();
  while (true) {
    const auto lease = worker.Ask<wire::ElementLease>(wire::ElementsWanted{grant.attempt, 8192, {}});
    if (lease.no_more) break;
    wire::ElementReports reports{grant.attempt, {}, {}};
    const Instant now = SystemClock().Now();
    for (const wire::Range& range : lease.ranges) {
      for (uint64_t i = range.first; i < range.first + range.count; ++i) {
        reports.started.push_back({i, now});
        reports.ended.push_back({i, now, 0});
      }
    }
    worker.Ask<wire::ElementsCommitted>(reports);
  }
  CHECK(worker.Ask<wire::FinishedAck>(wire::Finished{grant.attempt, EndReason::kDone, {}, {}, 0, {}, ""}).accepted);
  const int64_t millis = SystemClock().MonotonicMillis() - begin;
  std::printf("%llu no-ops in %lld ms: %lld a second, durable and encrypted\n", static_cast<unsigned long long>(kElements),
              static_cast<long long>(millis), static_cast<long long>(kElements * 1000 / std::max<int64_t>(1, millis)));
  CHECK(millis > 0);
}

TEST_CASE("submission to start with a free device", "[.rate]") {
  TempDirectory home;
  SchedulerOptions options;
  options.home = home.path();
  options.client_port = options.worker_port = 0;
  auto scheduler = Scheduler::Start(std::move(options));
  REQUIRE(scheduler.ok());
  SchedulerClient client =
      std::move(*SchedulerClient::Connect(*SchedulerClientOptions::ForHome(home.path(), (*scheduler)->client_endpoint())));
  HandWorker worker(home.path(), (*scheduler)->worker_endpoint());
  worker.Hello(1);
  std::vector<int64_t> micros;
  for (int i = 0; i < 300; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(client
                .Submit({SubmissionId("s-" + std::to_string(i)),
                         R"({"kind":"command","name":"one","project":"bench","argv":[":"],"resources":{"cpus":1}})",
                         {}})
                .ok());
    const auto grant = worker.Expect<wire::Grant>();
    micros.push_back(std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin).count());
    worker.Ask<wire::FinishedAck>(wire::Finished{grant.attempt, EndReason::kDone, {}, {}, 0, {}, ""});
  }
  std::sort(micros.begin(), micros.end());
  std::printf("submit to grant at the worker: p50 %.1f ms, p99 %.1f ms\n", micros[150] / 1000.0, micros[297] / 1000.0);
}

}  // namespace
}  // namespace lorry
