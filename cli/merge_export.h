// lorry merge and lorry export: an adapter folded into its base, and models and adapters as files that other programs read.
// lorry-batch writes the weights (batch/model_export.h); what is done here is finding, naming, registering and letting whole
// folders appear.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

struct MergeOptions {
  std::string adapter;      // registry name, or a PEFT directory
  std::string base;         // of a directory: registry name, directory or .gguf; of a registry name it stands in the manifest
  std::string to;           // ORG/NAME
  std::string dtype;        // empty: each weight as the base stores it
  bool is_private = false;  // false: as the name is; a new name as the base and the adapter are
};
// A new version of the model `to`, with the versions that it was made of as its parents. The same weights again are the version
// they are already. Nothing is left behind on an error.
Result<int> RunMerge(Session& session, const MergeOptions& options);

struct ExportOptions {
  std::string source;        // a model or an adapter: registry name, directory or .gguf
  std::string base;          // as for a merge
  std::string format;        // peft, safetensors, gguf, nf4
  std::string type = "f16";  // of a GGUF: f16, q8_0, f32
  std::string dtype;         // of safetensors
  std::string to;            // a folder that is not there, or empty
};
// peft: an adapter's files. safetensors: a model's directory, or that of the merged model. gguf: one file, NAME-TYPE.gguf. The
// folder appears whole or not at all.
Result<int> RunExport(Session& session, const ExportOptions& options);

}  // namespace lorry
