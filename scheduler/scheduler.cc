#include "scheduler/scheduler.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/files.h"
#include "base/random_key.h"
#include "base/transport/keys.h"
#include "scheduler/event_log.h"
#include "scheduler/reactor.h"

namespace lorry {

Scheduler::Scheduler(SchedulerOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<Scheduler>> Scheduler::Start(SchedulerOptions options) {
  std::unique_ptr<Scheduler> scheduler(new Scheduler(std::move(options)));
  LORRY_TRY(MakeDirectories(scheduler->options_.home, 0700));
  LORRY_TRY(scheduler->LockHome());
  LORRY_TRY(MakeHomeKeys(scheduler->options_.home));
  LORRY_TRY(scheduler->OpenStore());
  LORRY_TRY(scheduler->OpenPorts());
  SchedulerOptions& o = scheduler->options_;
  AddSchedulerQueries(&o.queries);
  scheduler->reactor_ = std::make_unique<Reactor>(
      ReactorParts{o.home, scheduler->home_id_, o.clock, o.core, scheduler->store_.get(), scheduler->clients_.get(),
                   scheduler->workers_.get(), o.registry.get(), o.books.get(), std::move(o.queries), o.admission});
  LORRY_TRY(scheduler->reactor_->Load());
  scheduler->thread_ = std::thread([raw = scheduler.get()] {
    Status ended = raw->reactor_->Serve();
    if (!ended.ok()) {
      spdlog::critical("the scheduler gives up: {}", ended.error().Format());
      raw->healthy_ = false;
    }
  });
  return scheduler;
}

Scheduler::~Scheduler() {
  Stop();
  reactor_.reset();
  clients_.reset();
  workers_.reset();
  zap_.reset();
  store_.reset();
  if (home_lock_ >= 0) close(home_lock_);
}

void Scheduler::Stop() {
  if (!thread_.joinable()) return;
  reactor_->Stop();
  thread_.join();
}

Result<std::string> Scheduler::Exchange(const std::string& message) {
  if (!healthy_) return MakeError(ErrorCode::kUnreachable, "the scheduler has given up");
  return reactor_->Exchange(message);
}

Status Scheduler::LockHome() {
  const std::string path = options_.home + "/lorryd.lock";
  home_lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (home_lock_ < 0) return ErrnoError("cannot open", path);
  if (flock(home_lock_, LOCK_EX | LOCK_NB) != 0) {
    return MakeError(ErrorCode::kConflict, fmt::format("another scheduler runs in {}", options_.home), "`lorry down` ends it");
  }
  return OkStatus();
}

// home.id says that this home has had a state file: from then on there must be one. A new file is made under another name first,
// so that a crash in the middle leaves a home that is still new.
Status Scheduler::OpenStore() {
  const std::string id_path = options_.home + "/home.id";
  const std::string path = options_.home + "/state.db";
  std::vector<Migration> migrations = SchedulerMigrations();
  migrations.insert(migrations.end(), options_.migrations.begin(), options_.migrations.end());
  if (!FileExists(id_path) && !FileExists(path)) {
    const std::string fresh = path + ".new";
    for (const char* suffix : {"", "-wal", "-shm"}) LORRY_TRY(RemoveTree(fresh + suffix));
    { LORRY_ASSIGN_OR_RETURN(std::unique_ptr<Store> made, Store::Open(fresh, migrations, StoreMode::kCreate)); }
    LORRY_TRY(RenameDurably(fresh, path));
  }
  LORRY_ASSIGN_OR_RETURN(store_, Store::Open(path, migrations, StoreMode::kMustExist));
  if (!FileExists(id_path)) LORRY_TRY(WriteFileAtomically(id_path, RandomKey(), 0600));
  LORRY_ASSIGN_OR_RETURN(std::string id, ReadFile(id_path, 4096));
  home_id_ = std::move(id);
  return OkStatus();
}

Status Scheduler::OpenPorts() {
  LORRY_ASSIGN_OR_RETURN(KeyPair keys, ReadKeyPair(KeysDirectory(options_.home), "scheduler"));
  context_ = TransportContext::Make();
  if (options_.start_zap_handler) {
    const std::string home = options_.home;
    LORRY_ASSIGN_OR_RETURN(zap_, ZapHandler::Start(context_, {{"lorry-client", [home] { return AllowedClientKeys(home); }},
                                                              {"lorry-worker", [home] { return AllowedWorkerKeys(home); }}}));
  }
  const auto endpoint = [&](int port) {
    return fmt::format("tcp://{}:{}", options_.bind_address, port == 0 ? "*" : std::to_string(port));
  };
  LORRY_ASSIGN_OR_RETURN(clients_,
                         RouterPort::Open(context_, zap_.get(), {endpoint(options_.client_port), "lorry-client", keys}));
  LORRY_ASSIGN_OR_RETURN(workers_,
                         RouterPort::Open(context_, zap_.get(), {endpoint(options_.worker_port), "lorry-worker", keys}));
  return OkStatus();
}

}  // namespace lorry
