// Whether a state file is one of Lorry's, and whole.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/store/database.h"

namespace lorry {

inline constexpr int kStateFileId = 0x4c525259;  // SQLite's application_id of it: "LRRY"
inline constexpr const char* kRestoreHint = "nothing was changed; bring back a backup with `lorry restore FROM`";

// Of a file that is not whole: names it, says how it is damaged and what brings it back.
Error DamagedStateFile(const std::string& path, std::string_view how);

// The first looks at the header, the second reads every page too, which takes a while for a large file. Errors: kData.
Status CheckHeader(Database& db, const std::string& path);
Status CheckPages(Database& db, const std::string& path);

}  // namespace lorry
