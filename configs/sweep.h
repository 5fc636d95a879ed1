// A sweep: one fine-tuning job that trains an adapter for each point of a grid, all on one resident base.
//
// Points are the product of the lists in `sweep.space`; keys in the order of the alphabet, the last one varies fastest. A point
// is a job of its own, the sweep's with the point's values in their places and without the sweep: what it gives is to the byte
// what that job alone gives.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry {

inline constexpr size_t kMaxSweepPoints = 64;

// Keys that a sweep may vary: those that leave base, data and precision as they are, since all points share them.
const std::vector<std::string_view>& SweepKeys();

struct SweepPoint {
  nlohmann::json values;      // {"adapter.r": 8, ...}; empty for a job without a sweep
  nlohmann::json job;         // as ToJson writes it
  std::string Label() const;  // "adapter.r=8 training.learning_rate=0.0002"
};

// Of a job as ToJson writes it; of one without a sweep, the job itself. kSpec where there are too many, or a key is not of
// SweepKeys().
Result<std::vector<SweepPoint>> SweepPoints(const nlohmann::json& job);

}  // namespace lorry
