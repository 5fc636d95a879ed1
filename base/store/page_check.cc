#include "base/store/page_check.h"

#include <fmt/format.h>

namespace lorry {

Error DamagedStateFile(const std::string& path, std::string_view how) {
  return MakeError(ErrorCode::kData, fmt::format("{} {}", path, how), kRestoreHint);
}

Status CheckHeader(Database& db, const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> id, db.AskInteger("PRAGMA application_id"));
  return id == kStateFileId ? OkStatus() : Status(DamagedStateFile(path, "is not a state file of Lorry's"));
}

Status CheckPages(Database& db, const std::string& path) {
  LORRY_TRY(CheckHeader(db, path));
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("PRAGMA quick_check(1)"));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  if (some && rows.Text(0) == "ok") return OkStatus();
  return DamagedStateFile(path, fmt::format("is damaged: {}", some ? rows.Text(0) : "no answer"));
}

}  // namespace lorry
