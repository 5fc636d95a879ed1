#include "trainers/trained_model.h"

#include <utility>

#include "lora/peft_files.h"

namespace lorry::trainers {
namespace {

class TrainedLora : public TrainedModel {
 public:
  explicit TrainedLora(std::unique_ptr<LoraModel> model) : model_(std::move(model)) {}
  at::Tensor& values() override { return model_->adapter().values(); }
  void ValuesChanged() override { model_->AdapterChanged(); }
  Result<LossSum> ForwardBackward(const PackedBatch& batch, at::Tensor gradient, const DropoutKey& draw) const override {
    return model_->ForwardBackward(batch, std::move(gradient), draw);
  }
  Result<LossSum> EvalLoss(const PackedBatch& batch) const override { return model_->EvalLoss(batch); }
  std::vector<RateGroup> RateGroups(double b_factor) const override {
    std::vector<RateGroup> groups;
    for (const Adapter::Slot& slot : model_->adapter().Slots()) {
      groups.push_back({slot.offset, slot.offset + slot.size(), slot.kind == Adapter::SlotKind::kA ? 1.0 : b_factor});
    }
    return groups;
  }
  Status WriteAdapter(const std::string& directory) const override { return WritePeftAdapter(directory, model_->adapter()); }

 private:
  std::unique_ptr<LoraModel> model_;
};

}  // namespace

std::unique_ptr<TrainedModel> TrainLora(std::unique_ptr<LoraModel> model) {
  return std::make_unique<TrainedLora>(std::move(model));
}

}  // namespace lorry::trainers
