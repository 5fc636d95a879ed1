// Any text as config.json and generation_config.json: an Error, or a configuration whose sizes are all sane.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "model/format/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = lorry::ParseJson(text);
  if (json.ok()) (void)lorry::ParseGenerationConfig(*json, "fuzz");
  const auto config = lorry::ParseModelConfigText(text, "fuzz");
  if (!config.ok()) return 0;
  if (config->hidden_size <= 0 || config->heads <= 0 || config->heads % config->kv_heads != 0 || config->head_dim % 2 != 0) {
    abort();
  }
  if (config->window.size() != static_cast<size_t>(config->layers)) abort();
  return 0;
}
