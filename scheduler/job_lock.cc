#include "scheduler/job_lock.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "configs/yaml_writer.h"

namespace lorry {

using nlohmann::json;

Digest DigestOf(const wire::Input& input) {
  if (!input.directory && input.files.size() == 1) return input.files[0].digest;
  json files = json::array();
  for (const wire::BlobFile& file : input.files) files.push_back({{"path", file.path}, {"sha256", file.digest.hex()}});
  return Sha256Of(CanonicalJson(files));
}

std::string JobLockText(const RunSpec& spec) {
  json lock = json::parse(spec.job_json);  // as ToJson made it
  if (!spec.model.empty()) lock[spec.kind == "finetune" ? "base_model" : "model"] = spec.model;
  if (!spec.adapter.empty()) lock["adapter"] = spec.adapter;
  if (!spec.after.empty()) lock["after"] = json::array();
  for (const RunId& before : spec.after) lock["after"].push_back(before.str());
  for (const wire::Input& input : spec.inputs) lock["inputs"][input.name] = DigestOf(input).hex();
  return WriteYaml(lock);
}

}  // namespace lorry
