#include "batch/sampling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "base/hash.h"
#include "base/random.h"

namespace lorry {
namespace {

// Below it a difference of two logits overflows what a weight can tell apart: greedy is what is meant.
constexpr double kLowestTemperature = 1e-4;

Error NotANumber() { return MakeError(ErrorCode::kData, "the model's logits are not numbers"); }

struct Candidate {
  float logit;
  TokenId id;
  double weight;  // exp(logit - largest logit)
};

// Falling logits, rising ids: a whole order, so that the result does not depend on the sorting algorithm.
bool Likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// The candidate where the running sum of weights passes `share` (in [0, 1)) of `total`.
TokenId PickByShare(const std::vector<Candidate>& candidates, double total, double share) {
  double passed = 0;
  for (const Candidate& candidate : candidates) {
    passed += candidate.weight;
    if (passed > share * total) return candidate.id;
  }
  return candidates.back().id;
}

// The likeliest candidates that together hold `part` of `total`, at least one, and their weight. A heap gives the
// likeliest first, and mostly few of them are needed.
std::pair<std::vector<Candidate>, double> TakeLikeliest(std::vector<Candidate> candidates, double total, double part) {
  const auto heap_order = [](const Candidate& a, const Candidate& b) { return Likelier(b, a); };
  std::make_heap(candidates.begin(), candidates.end(), heap_order);
  std::vector<Candidate> kept;
  double weight = 0;
  for (auto end = candidates.end(); end != candidates.begin() && (kept.empty() || weight < part * total);) {
    std::pop_heap(candidates.begin(), end, heap_order);
    kept.push_back(*--end);
    weight += kept.back().weight;
  }
  return {std::move(kept), weight};
}

}  // namespace

// Several maxima side by side, so that the compiler can keep them in one register; then the first place of the largest.
Result<TokenId> GreedyToken(LogitsRow logits) {
  constexpr size_t kSide = 16;
  float largest[kSide];
  uint32_t strange[kSide] = {};
  std::fill_n(largest, kSide, -std::numeric_limits<float>::infinity());
  const size_t whole = logits.size() / kSide * kSide;
  const auto look = [&](size_t lane, float value) {
    largest[lane] = value > largest[lane] ? value : largest[lane];
    strange[lane] |= value != value;
  };
  for (size_t i = 0; i < whole; i += kSide) {
    for (size_t lane = 0; lane < kSide; ++lane) look(lane, logits[i + lane]);
  }
  for (size_t i = whole; i < logits.size(); ++i) look(i - whole, logits[i]);
  if (std::any_of(std::begin(strange), std::end(strange), [](uint32_t s) { return s != 0; })) return NotANumber();
  const float best = *std::max_element(std::begin(largest), std::end(largest));
  return static_cast<TokenId>(std::find(logits.begin(), logits.end(), best) - logits.begin());
}

double LogProbability(LogitsRow logits, TokenId token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return logits[static_cast<size_t>(token)] - largest - std::log(sum);
}

TokenSampler::TokenSampler(const SamplingParams& params, std::string_view row_key)
    : temperature_(params.temperature), top_p_(params.top_p), top_k_(params.top_k), seed_(params.seed) {
  std::memcpy(&row_hash_, Sha256Of(row_key).bytes().data(), sizeof(row_hash_));
}

Result<TokenId> TokenSampler::Choose(LogitsRow logits, int64_t position) const {
  if (temperature_ < kLowestTemperature) return GreedyToken(logits);
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates[i] = {static_cast<float>(logits[i] / temperature_), static_cast<TokenId>(i), 0};
    if (std::isnan(candidates[i].logit)) return NotANumber();
  }
  if (top_k_ > 0 && top_k_ < static_cast<int64_t>(logits.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + top_k_, candidates.end(), Likelier);
    candidates.resize(static_cast<size_t>(top_k_));
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  }
  double largest = candidates[0].logit;
  for (const Candidate& candidate : candidates) largest = std::max<double>(largest, candidate.logit);
  double total = 0;
  for (Candidate& candidate : candidates) total += candidate.weight = std::exp(candidate.logit - largest);
  const double share = Random(seed_, "batch.sample", {row_hash_, static_cast<uint64_t>(position)}).Uniform01();
  if (top_p_ == 1) return PickByShare(candidates, total, share);
  const auto [kept, weight] = TakeLikeliest(std::move(candidates), total, top_p_);
  return PickByShare(kept, weight, share);
}

bool StopWatch::Add(std::string_view bytes) {
  size_t longest = 0;
  for (const std::string& text : stop_) longest = std::max(longest, text.size());
  if (longest == 0) return false;
  tail_ += bytes;
  for (const std::string& text : stop_) {
    if (tail_.find(text) != std::string::npos) return true;
  }
  if (tail_.size() >= longest) tail_.erase(0, tail_.size() - (longest - 1));
  return false;
}

std::string_view StopWatch::Before(std::string_view text, std::span<const std::string> stop) {
  size_t end = text.size();
  for (const std::string& word : stop) end = std::min(end, text.find(word));
  return text.substr(0, end);
}

}  // namespace lorry
