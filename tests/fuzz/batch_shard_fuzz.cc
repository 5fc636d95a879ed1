// Arbitrary bytes as a shard: what is whole is read, the rest is cut or refused, and what was read can be found again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/files.h"
#include "batch/row_shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lorry::TempDirectory dir;
  const std::string path = dir.path() + "/shard-0.rows";
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr || (size > 0 && std::fwrite(data, 1, size, file) != size) || std::fclose(file) != 0) std::abort();
  (void)lorry::ScanShard(path, [](const lorry::ShardRow& row, const lorry::RowPlace& place) {
    const auto line = lorry::ReadRowLine(place);
    if (!line.ok() || *line != row.line) std::abort();
    return lorry::OkStatus();
  });
  const auto row = lorry::DecodeShardRow({reinterpret_cast<const char*>(data), size});
  if (row.ok() && lorry::EncodeShardRow(*row) != std::string(reinterpret_cast<const char*>(data), size)) std::abort();
  return 0;
}
