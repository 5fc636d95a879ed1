#include "configs/job_spec.h"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "configs/field_writer.h"
#include "configs/job_fields.h"
#include "configs/job_reader.h"

namespace lorry {

std::string_view JobSpec::kind() const {
  static constexpr std::array<std::string_view, 4> kKinds = {"finetune", "batch", "command", "evaluate"};
  return kKinds[body.index()];
}

std::vector<std::string> BatchSpec::ModelNames() const {
  std::vector<std::string> names;
  for (const auto& name : {std::optional(model), adapter}) {
    if (!name) continue;
    if (IsDirectoryReference(*name)) return {};
    for (const std::string& form : {name->substr(0, name->find('@')), *name}) {
      names.push_back(form);
      if (form.starts_with("library/")) names.push_back(form.substr(8));
    }
  }
  return names;
}

std::string_view WordOf(LossScope value) { return EnumWords(value)[static_cast<size_t>(value)]; }
std::string_view WordOf(LengthPolicy value) { return EnumWords(value)[static_cast<size_t>(value)]; }
std::string_view WordOf(LrScheduler value) { return EnumWords(value)[static_cast<size_t>(value)]; }
std::string_view WordOf(TrainPrecision value) { return EnumWords(value)[static_cast<size_t>(value)]; }

Result<GpuRequest> ReadShortForm(const YamlNode& value, const GpuRequest& defaults) {
  GpuRequest gpus = defaults;
  std::string_view count = value.text;
  const size_t colon = count.rfind(':');
  if (value.kind == YamlNode::Kind::kText) {
    const std::string_view kind = count.substr(0, colon);
    LORRY_ASSIGN_OR_RETURN(gpus.kind, ApplyForm(TextForm::kName, kind, ""));
    if (colon == std::string_view::npos) return gpus;
    count.remove_prefix(colon + 1);
  }
  const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), gpus.count);
  if (error != std::errc() || end != count.data() + count.size() || gpus.count < 1 || gpus.count > 4096) {
    return MakeError(ErrorCode::kSpec, fmt::format("{} is not a number of GPUs", EscapeControl(value.text, 60)),
                     "write gpus: 2, gpus: H100:8, or gpus: {min_memory: 24GB, count: 1}");
  }
  return gpus;
}

nlohmann::json ToJson(const JobSpec& job) {
  JobSpec copy = job;
  nlohmann::json json;
  FieldWriter writer(json);
  Describe(writer, copy);
  json["kind"] = std::string(job.kind());
  return json;
}

Result<JobSpec> JobFromJson(const nlohmann::json& json) {
  ReadContext context;
  context.file = "job";
  context.from_json = true;
  std::optional<JobSpec> job = ReadJob(*YamlOfJson(json), context);
  if (!context.errors.empty()) {
    std::string text;
    for (const Error& error : context.errors) text += (text.empty() ? "" : "\n") + error.Format();
    return MakeError(ErrorCode::kSpec, std::move(text));
  }
  return std::move(*job);
}

}  // namespace lorry
