#include "worker/meter.h"

#include <algorithm>

namespace lorry {

Meter::Meter(const std::vector<MeteredDevice>& devices, Instant now) {
  for (const MeteredDevice& device : devices) {
    growing_.push_back(spans_.size());
    spans_.push_back(
        {.device = device.id, .device_kind = device.kind, .usage_class = UsageClass::kStartup, .t0 = now, .t1 = now});
  }
}

void Meter::SetClass(size_t device, UsageClass usage_class, Instant now) {
  if (ended_) return;
  const size_t at = growing_[device];
  wire::Span& span = spans_[at];
  if (span.usage_class == usage_class) return;
  span.t1 = now;
  if (span.t0 == now && at >= shown_) {  // nothing happened in the class before: it never was
    span.usage_class = usage_class;
    return;
  }
  growing_[device] = spans_.size();
  wire::Span next = span;
  next.usage_class = usage_class;
  next.t0 = now;
  spans_.push_back(std::move(next));
}

void Meter::SetAll(UsageClass usage_class, Instant now) {
  for (size_t device = 0; device < growing_.size(); ++device) SetClass(device, usage_class, now);
}

void Meter::End(Instant now) {
  if (ended_) return;
  for (const size_t at : growing_) spans_[at].t1 = now;
  ended_ = true;
}

uint64_t Meter::FinalSpans() const {
  if (ended_ || growing_.empty()) return spans_.size();
  return *std::min_element(growing_.begin(), growing_.end());
}

Meter::Piece Meter::Unsettled(Instant now) {
  if (!ended_) {
    for (const size_t at : growing_) spans_[at].t1 = now;
  }
  shown_ = spans_.size();
  return {settled_, {spans_.begin() + static_cast<ptrdiff_t>(settled_), spans_.end()}, FinalSpans()};
}

void Meter::Settle(const Piece& piece) { settled_ = std::max(settled_, piece.final_spans); }

}  // namespace lorry
