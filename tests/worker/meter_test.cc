#include "worker/meter.h"

#include <catch2/catch.hpp>

#include "base/random.h"
#include "tests/worker/fake_scheduler.h"

namespace lorry {
namespace {

const std::vector<MeteredDevice> kTwo = {{DeviceId("w/cpu-0"), "cpu"}, {DeviceId("w/cpu-1"), "cpu"}};

TEST_CASE("each change of class ends a span and begins the next where it ended") {
  Meter meter(kTwo, Instant(100));
  meter.SetAll(UsageClass::kProductive, Instant(150));
  meter.SetClass(1, UsageClass::kCheckpoint, Instant(170));
  meter.SetClass(1, UsageClass::kCheckpoint, Instant(175));
  meter.End(Instant(200));
  meter.SetAll(UsageClass::kDrain, Instant(300));
  const Meter::Piece piece = meter.Unsettled(Instant(400));
  const test::Metering sum = test::Sum(piece.spans);
  CHECK(sum.unbroken);
  CHECK(piece.final_spans == 5);
  CHECK(sum.class_ms ==
        std::map<UsageClass, int64_t>{{UsageClass::kStartup, 100}, {UsageClass::kProductive, 70}, {UsageClass::kCheckpoint, 30}});
  CHECK(sum.device_ms == std::map<std::string, int64_t>{{"w/cpu-0", 100}, {"w/cpu-1", 100}});
}

TEST_CASE("a class in which no time was spent leaves no span, unless it was shown") {
  Meter meter({kTwo[0]}, Instant(100));
  meter.SetAll(UsageClass::kProductive, Instant(100));
  CHECK(meter.Unsettled(Instant(100)).spans.size() == 1);
  meter.SetAll(UsageClass::kDrain, Instant(100));
  const Meter::Piece piece = meter.Unsettled(Instant(130));
  REQUIRE(piece.spans.size() == 2);
  CHECK(piece.spans[0].usage_class == UsageClass::kProductive);
  CHECK(piece.spans[1].usage_class == UsageClass::kDrain);
}

TEST_CASE("what a scheduler puts together from pieces, some of them lost, is what was measured") {
  const uint64_t seed = 11;
  CAPTURE(seed);
  Random random(seed, "meter-test");
  for (int round = 0; round < 100; ++round) {
    Meter meter(kTwo, Instant(0));
    std::vector<wire::Span> received;
    int64_t now = 0;
    const auto receive = [&](const Meter::Piece& piece) {
      REQUIRE(piece.first_span <= received.size());
      received.resize(std::max<size_t>(received.size(), piece.first_span + piece.spans.size()));
      std::copy(piece.spans.begin(), piece.spans.end(), received.begin() + static_cast<ptrdiff_t>(piece.first_span));
    };
    for (int i = 0; i < 60; ++i) {
      now += static_cast<int64_t>(random.Below(3));
      meter.SetClass(random.Below(2), kUsageClasses[random.Below(4)], Instant(now));
      if (random.Below(4) != 0) continue;
      const Meter::Piece piece = meter.Unsettled(Instant(now));
      if (random.Below(3) == 0) continue;  // lost on its way
      receive(piece);
      if (random.Below(3) != 0) meter.Settle(piece);
    }
    meter.End(Instant(now));
    receive(meter.Unsettled(Instant(now)));
    const test::Metering sum = test::Sum(received);
    CHECK(sum.unbroken);
    CHECK(sum.device_ms == std::map<std::string, int64_t>{{"w/cpu-0", now}, {"w/cpu-1", now}});
  }
}

}  // namespace
}  // namespace lorry
