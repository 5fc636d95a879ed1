#include "trainers/ordered_sum.h"

#include <fmt/format.h>
#include <catch2/catch.hpp>

#include <atomic>
#include <mutex>
#include <new>
#include <thread>

#include "tests/trainers/plain_sum.h"
#include "tests/trainers/rank_threads.h"
#include "trainers/lanes.h"

namespace lorry::trainers {
namespace {

std::string Text(const std::vector<SumNode>& nodes) {
  std::string text;
  for (const SumNode node : nodes) text += fmt::format("{}/{} ", node.level, node.index);
  return text;
}

TEST_CASE("the fewest nodes that cover a range") {
  struct Case {
    int64_t leaves, first, last;
    const char* nodes;
  };
  for (const Case& c : std::initializer_list<Case>{{1, 0, 1, "0/0 "},
                                                   {4, 0, 4, "2/0 "},
                                                   {4, 1, 4, "0/1 1/1 "},
                                                   {5, 0, 5, "3/0 "},
                                                   {5, 4, 5, "2/1 "},
                                                   {6, 3, 6, "0/3 2/1 "},
                                                   {7, 2, 6, "1/1 1/2 "},
                                                   {8, 3, 3, ""}}) {
    CHECK(Text(CoveringNodes(c.leaves, c.first, c.last)) == c.nodes);
  }
}

TEST_CASE("the sum has the same bits for every dealing to lanes and ranks, MPI's or a fake communicator's") {
  const int64_t length = 37;  // a multiple of no number of ranks
  for (const int64_t leaves : {1, 2, 3, 5, 8, 13}) {
    for (const int ranks : {1, 2, 3, 4}) {
      for (const int lanes : {1, 3}) {
        RankThreads group(ranks);
        std::vector<bool> same(static_cast<size_t>(ranks));
        std::mutex lock;
        group.Run([&](RankGroup& mine) {
          const bool equal = SumsLikeThePlainTwin(mine, at::kCPU, leaves, lanes, length);
          const std::lock_guard guard(lock);
          same[mine.rank()] = equal;
        });
        INFO("leaves " << leaves << " ranks " << ranks << " lanes " << lanes);
        CHECK(same == std::vector<bool>(static_cast<size_t>(ranks), true));
      }
    }
  }
}

TEST_CASE("lanes stop at the first error, and name the earliest") {
  Lanes lanes(3, 1);
  std::atomic<int> begun = 0;
  const Status status = lanes.ForEach(0, 1000, [&](int64_t i) -> Status {
    ++begun;
    if (i == 7) return MakeError(ErrorCode::kData, "seven");
    if (i > 7) std::this_thread::yield();
    return OkStatus();
  });
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().message == "seven");
  CHECK(begun < 1000);
  CHECK(lanes.ForEach(0, 5, [](int64_t) { return OkStatus(); }).ok());
  const Status thrown = lanes.ForEach(0, 1, [](int64_t) -> Status { throw std::bad_alloc(); });
  CHECK(thrown.error().code == ErrorCode::kOutOfMemory);
}

}  // namespace
}  // namespace lorry::trainers
