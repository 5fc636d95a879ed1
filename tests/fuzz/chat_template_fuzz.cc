// A chat template that others wrote: either an error, or a rendering, soon.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/format/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parsed = lorry::ChatTemplate::Parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!parsed.ok()) return 0;
  lorry::ChatRenderOptions options;
  options.add_generation_prompt = size % 2 == 0;
  options.tools = R"([{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2.5, null, "\u00e9"]}}}])";
  options.now = lorry::Instant(1'700'000'000'000);
  (void)parsed->Render({{"system", "s", ""}, {"user", "\xC3\xA4 a", ""}, {"assistant", " b\n", R"({"reasoning_content": "r"})"}},
                       options);
  (void)parsed->RenderVariables(R"({"text": "t", "n": 3})");
  return 0;
}
