// Which of the Hugging Face questions a path asks. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorry {

enum class HubQuestion { kModelList, kModelInfo, kTree, kPathsInfo, kRefs, kAuthCheck, kWhoAmI, kFile };

struct HubRoute {
  HubQuestion question = HubQuestion::kModelInfo;
  std::string repository;  // "org/name", "org/name.v3" or a bare "name"
  std::string revision;    // decoded; empty where the path has none
  std::string path;        // inside the repository, decoded
};

// nullopt for a path that is none of them, or has a malformed escape or a %00.
std::optional<HubRoute> ParseHubPath(std::string_view path);

}  // namespace lorry
