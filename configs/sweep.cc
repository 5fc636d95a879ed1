#include "configs/sweep.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

void SetAt(nlohmann::json& job, std::string_view path, const nlohmann::json& value) {
  nlohmann::json* place = &job;
  for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    place = &(*place)[std::string(path.substr(0, dot))];
    path.remove_prefix(dot + 1);
  }
  (*place)[std::string(path)] = value;
}

}  // namespace

const std::vector<std::string_view>& SweepKeys() {
  static const std::vector<std::string_view> kKeys = {
      "adapter.alpha",         "adapter.dora",           "adapter.r",
      "adapter.rslora",        "training.learning_rate", "training.loraplus_lr_ratio",
      "training.lr_scheduler", "training.max_grad_norm", "training.max_steps",
      "training.seed",         "training.warmup_ratio",  "training.weight_decay"};
  return kKeys;
}

std::string SweepPoint::Label() const {
  std::string label;
  for (const auto& [key, value] : values.items()) {
    label += fmt::format("{}{}={}", label.empty() ? "" : " ", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return label;
}

Result<std::vector<SweepPoint>> SweepPoints(const nlohmann::json& job) {
  nlohmann::json plain = job;
  plain.erase("sweep");
  std::vector<SweepPoint> points = {{nlohmann::json::object(), plain}};
  if (!job.contains("sweep")) return points;
  for (const auto& [key, list] : job["sweep"]["space"].items()) {
    if (std::find(SweepKeys().begin(), SweepKeys().end(), key) == SweepKeys().end()) {
      return MakeError(ErrorCode::kSpec, fmt::format("sweep.space.{}: a sweep cannot vary this", EscapeControl(key, 64)));
    }
    if (points.size() * list.size() > kMaxSweepPoints) {
      return MakeError(ErrorCode::kSpec, fmt::format("sweep.space: more than {} points", kMaxSweepPoints));
    }
    std::vector<SweepPoint> more;
    for (const SweepPoint& point : points) {
      for (const nlohmann::json& value : list) {
        more.push_back(point);
        more.back().values[key] = value;
        SetAt(more.back().job, key, value);
      }
    }
    points = std::move(more);
  }
  return points;
}

}  // namespace lorry
