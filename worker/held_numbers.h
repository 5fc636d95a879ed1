// Which rows or elements this worker has been leased and does not yet know to be committed: told with each question for more, so
// that a lease whose answer was lost is given again. Value; one thread.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "base/wire_types.h"

namespace lorry {

class HeldNumbers {
 public:
  void Add(const wire::Range& range) {
    for (uint64_t i = 0; i < range.count; ++i) numbers_.insert(numbers_.end(), range.first + i);
  }
  void Remove(const std::vector<uint64_t>& committed) {
    for (const uint64_t number : committed) numbers_.erase(number);
  }
  std::vector<wire::Range> Ranges() const {
    std::vector<wire::Range> ranges;
    for (const uint64_t number : numbers_) {
      if (!ranges.empty() && ranges.back().first + ranges.back().count == number) {
        ++ranges.back().count;
      } else {
        ranges.push_back({number, 1});
      }
    }
    return ranges;
  }

 private:
  std::set<uint64_t> numbers_;
};

}  // namespace lorry
