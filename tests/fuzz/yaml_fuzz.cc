// YAML that anyone wrote, as a job, a price list and a cluster file: errors, never a crash; a job that is taken survives JSON.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "configs/cluster_config.h"
#include "configs/job_file.h"
#include "configs/price_list.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const lorry::ParsedJob job = lorry::ParseJob(text, {"f.yaml", "/nowhere", {}});
  if (job.spec.has_value() != job.errors.empty()) std::abort();
  if (lorry::FormatErrors(job.errors).size() > 20'000) std::abort();
  if (job.spec) {
    const nlohmann::json json = lorry::ToJson(*job.spec);
    const auto again = lorry::JobFromJson(json);
    if (!again.ok() || lorry::CanonicalJson(lorry::ToJson(*again)) != lorry::CanonicalJson(json)) std::abort();
  }
  (void)lorry::ParsePriceList(text, "f.yaml").ok();
  (void)lorry::ParseClusterConfig(text, "f.yaml").ok();
  return 0;
}
