#include "trainers/token_cache.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "base/files.h"
#include "base/json.h"
#include "trainers/hdf5_image.h"

namespace lorry::trainers {
namespace {

constexpr int kEncodingVersion = 1;  // raise it when model/format/rows.h gives other tokens for the same row
constexpr int64_t kLargestCache = int64_t{64} << 30;

// HDF5 is not to be trusted with damaged bytes: their digest, in a file beside it, is compared first.
std::string DigestPath(const std::string& path) { return path + ".sha256"; }

Result<Dataset> ReadImage(const std::string& path, const Digest& key) {
  LORRY_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kLargestCache));
  LORRY_ASSIGN_OR_RETURN(const std::string digest, ReadFile(DigestPath(path)));
  if (digest != Sha256Of(bytes).hex()) return MakeError(ErrorCode::kData, path + ": damaged");
  LORRY_ASSIGN_OR_RETURN(const auto image, Hdf5Image::Open(bytes, path));
  Dataset data;
  LORRY_ASSIGN_OR_RETURN(data.ids, image->Int32s("ids"));
  LORRY_ASSIGN_OR_RETURN(data.loss, image->Bytes("loss"));
  LORRY_ASSIGN_OR_RETURN(data.row_starts, image->Int64s("row_starts"));
  LORRY_ASSIGN_OR_RETURN(data.lines, image->Int64s("lines"));
  LORRY_ASSIGN_OR_RETURN(const std::vector<int64_t> counts, image->Int64s("counts"));
  LORRY_ASSIGN_OR_RETURN(const std::string written_key, image->Text("key"));
  if (counts.size() != 2 || written_key != key.hex()) return MakeError(ErrorCode::kData, path + ": of another key");
  data.dropped = counts[0];
  data.truncated = counts[1];
  return data;
}

}  // namespace

Digest TokenCacheKey(const DatasetRequest& request, const Digest& file_digest) {
  const EncodeRowOptions& encode = request.encode;
  const nlohmann::json key = {
      {"version", kEncodingVersion},
      {"file", file_digest.hex()},
      {"tokenizer", request.tokenizer->fingerprint()},
      {"template", request.chat_template != nullptr ? Sha256Of(request.chat_template->text()).hex() : std::string("none")},
      {"loss_on", static_cast<int>(encode.loss_on)},
      {"too_long", static_cast<int>(encode.too_long)},
      {"max_length", encode.max_length},
      {"variables", encode.chat.variables},
  };
  return Sha256Of(CanonicalJson(key));
}

std::string TokenCachePath(const std::string& cache_dir, const Digest& key) { return cache_dir + "/tokens/" + key.hex() + ".h5"; }

std::optional<Dataset> ReadTokenCache(const std::string& path, const Digest& key) {
  if (!FileExists(path)) return std::nullopt;
  Result<Dataset> data = ReadImage(path, key);
  if (!data.ok()) return std::nullopt;
  return std::move(*data);
}

Status WriteTokenCache(const std::string& path, const Digest& key, const Dataset& data) {
  Hdf5Builder image;
  const int64_t counts[] = {data.dropped, data.truncated};
  LORRY_TRY(image.Add("ids", std::span<const int32_t>(data.ids)));
  LORRY_TRY(image.Add("loss", std::span<const uint8_t>(data.loss)));
  LORRY_TRY(image.Add("row_starts", std::span<const int64_t>(data.row_starts)));
  LORRY_TRY(image.Add("lines", std::span<const int64_t>(data.lines)));
  LORRY_TRY(image.Add("counts", std::span<const int64_t>(counts)));
  LORRY_TRY(image.AddText("key", key.hex()));
  LORRY_ASSIGN_OR_RETURN(const std::string bytes, image.Finish());
  LORRY_TRY(MakeDirectories(std::filesystem::path(path).parent_path().string()));
  LORRY_TRY(WriteFileAtomically(path, bytes));
  return WriteFileAtomically(DigestPath(path), Sha256Of(bytes).hex());
}

}  // namespace lorry::trainers
