// Data files that others wrote, as training rows and as batch rows, with and without a prompt template.
#include <cstddef>
#include <cstdint>
#include <string>

#include "model/format/rows.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  lorry::RowReader rows(lorry::LineReader::OverText(text, "fuzz"));
  for (auto row = rows.Next(); row.ok() && row->has_value(); row = rows.Next()) {
  }
  for (bool with_template : {false, true}) {
    std::optional<lorry::ChatTemplate> prompt;
    if (with_template) prompt = *lorry::ChatTemplate::Parse("{{ text }} {{ messages }}", "prompt");
    lorry::BatchRowReader batch(lorry::LineReader::OverText(text, "fuzz"), std::move(prompt));
    for (auto row = batch.Next(); row.ok() && row->has_value(); row = batch.Next()) {
      if ((*row)->id.empty()) __builtin_trap();
    }
  }
  return 0;
}
