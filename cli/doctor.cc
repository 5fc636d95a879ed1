// lorry doctor: one check after another, each with what it found and what to do about it.
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/process.h"
#include "base/store/page_check.h"
#include "base/transport/keys.h"
#include "cli/administration.h"
#include "cli/home_state.h"
#include "cli/metered_time.h"
#include "configs/cluster_config.h"
#include "configs/features.h"
#include "configs/price_list.h"
#include "ledger/verification.h"

namespace lorry {
namespace {

constexpr int64_t kLowDiskBytes = int64_t{2} << 30;

struct Finding {
  std::string check;
  bool good = true;
  std::string says;
  std::string remedy;
  std::function<Status()> fix;  // may be empty: nothing that a program should do by itself
};

Finding Good(std::string check, std::string says) { return {std::move(check), true, std::move(says), "", {}}; }
Finding Bad(std::string check, std::string says, std::string remedy, std::function<Status()> fix = {}) {
  return {std::move(check), false, std::move(says), std::move(remedy), std::move(fix)};
}
Finding Of(std::string check, const Status& status, std::string good) {
  if (status.ok()) return Good(std::move(check), std::move(good));
  return Bad(std::move(check), status.error().message, status.error().hint);
}

void CheckPrograms(std::vector<Finding>& findings) {
  for (const char* program : {"lorryd", "lorry-worker", "lorry-train", "lorry-batch"}) {
    const std::string path = ProgramDirectory() + "/" + program;
    if (access(path.c_str(), X_OK) == 0) {
      findings.push_back(Good(program, path));
    } else {
      findings.push_back(Bad(program, path + " is not there", "install Lorry whole: scripts/setup, then cmake --install"));
    }
  }
  if (access("/usr/bin/mpirun", X_OK) != 0) {
    findings.push_back(Bad("mpirun", "not found", "apt-get install openmpi-bin (runs with one rank work without)"));
  }
}

void CheckKeys(const std::string& home, std::vector<Finding>& findings) {
  for (const char* name : {"scheduler", "worker", "client"}) {
    const std::string check = fmt::format("key {}", name);
    const Result<KeyPair> pair = ReadKeyPair(KeysDirectory(home), name);
    const std::string secret = fmt::format("{}/{}.secret", KeysDirectory(home), name);
    if (pair.ok()) {
      findings.push_back(Good(check, "whole, readable by its owner only"));
    } else if (pair.error().code == ErrorCode::kNotFound) {
      findings.push_back(Bad(check, pair.error().message, "lorry up makes it", [home] { return MakeHomeKeys(home); }));
    } else if (pair.error().code == ErrorCode::kNotAllowed) {
      findings.push_back(Bad(check, pair.error().message, "chmod 600 " + secret, [secret]() -> Status {
        return chmod(secret.c_str(), 0600) == 0 ? OkStatus() : Status(ErrnoError("cannot change the mode of", secret));
      }));
    } else {
      findings.push_back(Bad(check, pair.error().message, "take both files away; lorry up makes a new pair"));
    }
  }
}

void CheckState(const std::string& home, std::vector<Finding>& findings) {
  const std::string path = home + "/state.db";
  if (!FileExists(path)) return findings.push_back(Good("state.db", "not there yet; the first lorry up makes it"));
  const Result<std::unique_ptr<Store>> store = Store::OpenReadOnly(path);
  if (!store.ok()) return findings.push_back(Of("state.db", store.error(), ""));
  Result<Reader> reader = (*store)->Read();
  if (!reader.ok()) return findings.push_back(Of("state.db", reader.error(), ""));
  if (const Status whole = CheckPages(reader->db(), path); !whole.ok()) return findings.push_back(Of("state.db", whole, ""));
  findings.push_back(Good("state.db", "whole: every page was read"));
  const Result<std::vector<MeteredTime>> metered = TimeOfEndedAttempts(reader->db());
  if (!metered.ok()) return findings.push_back(Of("books", metered.error(), ""));
  const Result<LedgerCheck> books = VerifyLedger(reader->db(), *metered);
  if (!books.ok()) return findings.push_back(Of("books", books.error(), ""));
  if (books->whole()) {
    findings.push_back(Good("books", fmt::format("whole: {} slices", books->slices)));
  } else {
    findings.push_back(Bad("books", books->problems.front(), "restore the last backup: lorry restore"));
  }
}

void CheckFiles(const std::string& home, std::vector<Finding>& findings) {
  if (const std::string path = home + "/prices.yaml"; FileExists(path)) {
    const Result<std::vector<ListedPrice>> prices = LoadPriceList(path);
    findings.push_back(prices.ok() ? Good("prices.yaml", fmt::format("{} prices", prices->size()))
                                   : Bad("prices.yaml", prices.error().message, "mend the file"));
  }
  if (const std::string path = home + "/cluster.yaml"; FileExists(path)) {
    const Result<ClusterConfig> cluster = LoadClusterConfig(path);
    findings.push_back(cluster.ok() ? Good("cluster.yaml", "whole")
                                    : Bad("cluster.yaml", cluster.error().message, "mend the file"));
  }
  const Result<Bytes> room = FreeBytes(home);
  if (!room.ok()) {
    findings.push_back(Of("disk", room.error(), ""));
  } else if (room->count() < kLowDiskBytes) {
    findings.push_back(Bad("disk", FormatSize(*room) + " free", "make room: checkpoints and blobs need it"));
  } else {
    findings.push_back(Good("disk", FormatSize(*room) + " free"));
  }
}

void CheckScheduler(Session& session, std::vector<Finding>& findings) {
  if (!session.is_remote() && !ReadHomeAddresses(session.home())) {
    findings.push_back(Good("scheduler", "not running; start it with lorry up"));
    if (const std::string stale = session.home() + "/up.json"; FileExists(stale)) {
      findings.push_back(
          Bad("up.json", "names a process that is gone", "lorry up writes it anew", [home = session.home()]() -> Status {
            RemoveHomeAddresses(home);
            return OkStatus();
          }));
    }
    return;
  }
  Result<SchedulerClient*> scheduler = session.Scheduler();
  if (!scheduler.ok()) return findings.push_back(Of("scheduler", scheduler.error(), ""));
  const Result<wire::Pong> pong = (*scheduler)->Ping();
  if (!pong.ok()) return findings.push_back(Of("scheduler", pong.error(), ""));
  if (pong->workers == 0) findings.push_back(Bad("workers", "none has registered", "see logs/lorry-worker.log"));
  findings.push_back(Good("scheduler", fmt::format("answers; {} workers, {} running", pong->workers, pong->running)));
  const Result<nlohmann::json> events = session.Ask("events.verify", nlohmann::json::object());
  if (!events.ok()) {
    findings.push_back(Of("events", events.error(), ""));
  } else {
    findings.push_back(Good("events", fmt::format("whole: {} in one chain", events->value("events", int64_t{0}))));
  }
}

Result<int> ShowFeatures(Session& session) {
  nlohmann::json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> table = {{"FEATURE", "IN THIS VERSION"}};
  for (const Feature& feature : Features()) {
    list.push_back({{"name", std::string(feature.name)}, {"built", feature.built}});
    table.push_back({std::string(feature.name), feature.built ? "yes" : "no"});
  }
  session.terminal().Print(AlignColumns(table));
  session.terminal().PrintJson({{"version", LORRY_VERSION}, {"features", list}});
  return 0;
}

}  // namespace

Result<int> RunDoctor(Session& session, const DoctorOptions& options) {
  if (options.features) return ShowFeatures(session);
  std::vector<Finding> findings;
  CheckPrograms(findings);
  if (FileExists(session.home())) {
    CheckKeys(session.home(), findings);
    CheckState(session.home(), findings);
    CheckFiles(session.home(), findings);
  } else {
    findings.push_back(Good("home", session.home() + " is not there yet; lorry up makes it"));
  }
  CheckScheduler(session, findings);
  bool all_good = true;
  nlohmann::json list = nlohmann::json::array();
  std::string text;
  for (Finding& finding : findings) {
    if (!finding.good && options.fix && finding.fix) {
      const Status fixed = finding.fix();
      finding.good = fixed.ok();
      finding.says += fixed.ok() ? "; mended" : "; cannot be mended: " + fixed.error().message;
    }
    all_good = all_good && finding.good;
    list.push_back({{"check", finding.check}, {"good", finding.good}, {"says", finding.says}, {"remedy", finding.remedy}});
    text += fmt::format("{} {}: {}{}\n", finding.good ? "ok " : "BAD", finding.check, finding.says,
                        finding.good || finding.remedy.empty() ? "" : "; " + finding.remedy);
  }
  session.terminal().Print(text);
  session.terminal().PrintJson({{"good", all_good}, {"checks", list}});
  return all_good ? 0 : 1;
}

}  // namespace lorry
