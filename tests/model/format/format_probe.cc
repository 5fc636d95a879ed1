// format_probe import GGUF OUT_DIR [DTYPE]      imports a GGUF file
// format_probe check MODEL_DIR                  opens a model directory with its weights
// What tests/live runs before it compares with the peers' reading of the same files.
#include <fmt/core.h>

#include <string>
#include <vector>

#include "model/format/import_gguf.h"
#include "model/format/model_directory.h"

namespace {

int Report(const lorry::Status& status) {
  if (status.ok()) return 0;
  fmt::print(stderr, "{}\n", status.error().Format());
  return lorry::ExitStatusOf(status.error().code);
}

lorry::Status Import(const std::vector<std::string>& words) {
  lorry::ImportGgufOptions options;
  if (words.size() > 3) {
    LORRY_ASSIGN_OR_RETURN(options.dtype, lorry::DTypeFromTorchName(words[3]));
  }
  return lorry::ImportGguf(words[1], words[2], options);
}

lorry::Status Check(const std::string& dir) {
  LORRY_ASSIGN_OR_RETURN(const lorry::ModelDirectory model, lorry::ModelDirectory::Open(dir));
  fmt::print("{} {} parameters, {} bytes of weights\n", model.config().model_type, model.config().ParameterCount(),
             model.WeightBytes());
  return lorry::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() >= 3 && words[0] == "import") return Report(Import(words));
  if (words.size() == 2 && words[0] == "check") return Report(Check(words[1]));
  fmt::print(stderr, "usage: format_probe import GGUF OUT_DIR [DTYPE] | check MODEL_DIR\n");
  return 2;
}
