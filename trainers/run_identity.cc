#include "trainers/run_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace lorry::trainers {
namespace {

struct Field {
  const char* name;
  std::string RunIdentity::*text;
};
constexpr Field kOfTheJob[] = {{"job", &RunIdentity::job},
                               {"base_model", &RunIdentity::base_model},
                               {"training_data", &RunIdentity::training_data},
                               {"validation_data", &RunIdentity::validation_data},
                               {"initial_adapter", &RunIdentity::initial_adapter}};
constexpr Field kOfTheMachine[] = {{"device", &RunIdentity::device}, {"libraries", &RunIdentity::libraries}};

constexpr int64_t kLargestHeader = int64_t{100} << 20;

// Length and header of a safetensors file: names, types, shapes and places of its tensors.
Status AddWeightsFile(const std::string& path, Sha256& sha) {
  LORRY_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view bytes = file.text();
  const int64_t header = std::min<int64_t>(static_cast<int64_t>(bytes.size()), kLargestHeader);
  uint64_t length = 0;
  if (bytes.size() >= sizeof(length)) std::memcpy(&length, bytes.data(), sizeof(length));
  sha.Update(fmt::format("{} ", bytes.size()));
  sha.Update(bytes.substr(0, std::min<uint64_t>(static_cast<uint64_t>(header), length + sizeof(length))));
  return OkStatus();
}

}  // namespace

std::string RunIdentity::ToJson() const {
  nlohmann::json value = {{"threads_per_lane", threads_per_lane}, {"build", build}};
  for (const Field& field : kOfTheJob) value[field.name] = this->*field.text;
  for (const Field& field : kOfTheMachine) value[field.name] = this->*field.text;
  return CanonicalJson(value);
}

Result<RunIdentity> RunIdentity::FromJson(std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json value, ParseJson(text));
  RunIdentity identity;
  try {
    for (const Field& field : kOfTheJob) identity.*field.text = value.at(field.name).get<std::string>();
    for (const Field& field : kOfTheMachine) identity.*field.text = value.at(field.name).get<std::string>();
    identity.threads_per_lane = value.at("threads_per_lane").get<int64_t>();
    identity.build = value.at("build").get<std::string>();
  } catch (const nlohmann::json::exception& exception) {
    return MakeError(ErrorCode::kData, std::string("checkpoint identity: ") + exception.what());
  }
  return identity;
}

Status MayContinue(const RunIdentity& old, const RunIdentity& now, bool other_device) {
  for (const Field& field : kOfTheJob) {
    if (old.*field.text != now.*field.text) {
      return MakeError(ErrorCode::kSpec, fmt::format("the checkpoint is of another job: {} differs", field.name),
                       "submit it as a new run");
    }
  }
  if (other_device) return OkStatus();
  const char* hint = "go on where it began, or set retry.other_device: true and give up equal bytes";
  for (const Field& field : kOfTheMachine) {
    if (old.*field.text != now.*field.text) {
      return MakeError(
          ErrorCode::kSpec,
          fmt::format("the checkpoint was made on another {}: {}; here it is {}", field.name, old.*field.text, now.*field.text),
          hint);
    }
  }
  if (old.threads_per_lane != now.threads_per_lane) {
    return MakeError(ErrorCode::kSpec,
                     fmt::format("the checkpoint was made with {} threads a lane; here there are {}", old.threads_per_lane,
                                 now.threads_per_lane),
                     hint);
  }
  return OkStatus();
}

Result<std::string> BaseModelDigest(const std::string& directory) {
  Sha256 sha;
  LORRY_ASSIGN_OR_RETURN(const std::string config, ReadFile(directory + "/config.json"));
  sha.Update(config);
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    if (!name.ends_with(".safetensors")) continue;
    sha.Update(name);
    LORRY_TRY(AddWeightsFile(directory + "/" + name, sha));
  }
  return sha.Finish().hex();
}

Result<std::string> AdapterDigest(const std::string& directory) {
  LORRY_ASSIGN_OR_RETURN(const Digest weights, Sha256OfFile(directory + "/adapter_model.safetensors"));
  LORRY_ASSIGN_OR_RETURN(const Digest config, Sha256OfFile(directory + "/adapter_config.json"));
  return Sha256Of(weights.hex() + config.hex()).hex();
}

}  // namespace lorry::trainers
