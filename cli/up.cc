#include "cli/up.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"
#include "base/transport/keys.h"
#include "cli/home_state.h"
#include "cli/machine_rates.h"
#include "cli/run_text.h"
#include "cli/supervisor.h"
#include "configs/cluster_config.h"

namespace lorry {
namespace {

constexpr Millis kReadyWithin{30'000};
constexpr Millis kWorkerGrace{180'000};  // for what runs to stop
constexpr Millis kSchedulerGrace{15'000};
constexpr Millis kPollEvery{100};
constexpr int64_t kLongestLog = int64_t{1} << 30;
constexpr std::string_view kErrorMark = " error: ";  // as base/log.h writes an error

std::string LogPath(const std::string& home, const std::string& daemon) { return fmt::format("{}/logs/{}.log", home, daemon); }

// One `lorry up` per home: the lock is held as long as the watching process lives.
class HomeLock {
 public:
  static Result<std::optional<HomeLock>> TryTake(const std::string& home) {
    const std::string path = home + "/up.lock";
    const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return ErrnoError("cannot open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return std::optional<HomeLock>(HomeLock(fd));
    close(fd);
    return std::optional<HomeLock>();
  }
  HomeLock(HomeLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  HomeLock& operator=(HomeLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~HomeLock() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  explicit HomeLock(int fd) : fd_(fd) {}
  int fd_;
};

// False where another program listens there. An address that is not this machine's is left for lorryd to refuse.
bool PortIsFree(const std::string& host, int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const bool free = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EADDRNOTAVAIL;
  close(fd);
  return free;
}

struct UpPlan {
  ClusterConfig cluster;
  std::string devices;
  HomeAddresses addresses;
};

Result<UpPlan> MakeUpPlan(const std::string& home, const UpOptions& options) {
  UpPlan plan;
  if (const std::string path = home + "/cluster.yaml"; FileExists(path)) {
    LORRY_ASSIGN_OR_RETURN(plan.cluster, LoadClusterConfig(path));
  }
  if (options.port != 0) {
    plan.cluster.http_port = options.port;
    plan.cluster.client_port = options.port + 1;
    plan.cluster.worker_port = options.port + 2;
  }
  for (const int64_t port : {plan.cluster.http_port, plan.cluster.client_port, plan.cluster.worker_port}) {
    if (!PortIsFree(HostOf(plan.cluster), static_cast<int>(port))) {
      return MakeError(ErrorCode::kConflict, fmt::format("port {} is taken by another program", port),
                       "give three free ones in a row with --port P");
    }
  }
  plan.devices = options.devices.empty() ? plan.cluster.devices : options.devices;
  plan.addresses = AddressesOf(plan.cluster, home);
  return plan;
}

// The home's folders, keys and rates, as far as they are not there.
Status PrepareHome(const std::string& home) {
  for (const char* folder : {"", "/logs", "/cache", "/runs"}) LORRY_TRY(MakeDirectories(home + folder, 0700));
  LORRY_TRY(MakeHomeKeys(home));
  if (!ReadMachineRates(home)) LORRY_TRY(WriteMachineRates(home, MeasureMachineRates()));
  return OkStatus();
}

std::vector<DaemonSpec> Daemons(const UpPlan& plan) {
  const std::string& home = plan.addresses.home;
  const std::string programs = ProgramDirectory();
  DaemonSpec scheduler;
  scheduler.name = "lorryd";
  scheduler.spawn.argv = {programs + "/lorryd",
                          "--home",
                          home,
                          "--port",
                          std::to_string(plan.cluster.http_port),
                          "--client-port",
                          std::to_string(plan.cluster.client_port),
                          "--worker-port",
                          std::to_string(plan.cluster.worker_port)};
  if (plan.cluster.bind != "127.0.0.1") scheduler.spawn.argv.insert(scheduler.spawn.argv.end(), {"--bind", plan.cluster.bind});
  if (plan.cluster.tls) {
    scheduler.spawn.argv.insert(scheduler.spawn.argv.end(),
                                {"--tls-cert", plan.cluster.tls->cert, "--tls-key", plan.cluster.tls->key});
  }
  scheduler.grace = kSchedulerGrace;
  DaemonSpec worker;
  worker.name = "lorry-worker";
  worker.spawn.argv = {programs + "/lorry-worker", "--home", home, "--address", plan.addresses.worker};
  if (!plan.devices.empty()) worker.spawn.argv.insert(worker.spawn.argv.end(), {"--devices", plan.devices});
  worker.grace = kWorkerGrace;
  std::vector<DaemonSpec> daemons = {std::move(scheduler), std::move(worker)};
  for (DaemonSpec& daemon : daemons) {
    daemon.spawn.stdout_path = daemon.spawn.stderr_path = LogPath(home, daemon.name);
  }
  return daemons;
}

// True once the scheduler answers and has a worker.
bool IsReady(const HomeAddresses& addresses) {
  Result<SchedulerClientOptions> options = SchedulerClientOptions::ForHome(addresses.home, addresses.client);
  if (!options.ok()) return false;
  options->patience = kPollEvery;
  Result<SchedulerClient> client = SchedulerClient::Connect(std::move(*options));
  if (!client.ok()) return false;
  const Result<wire::Pong> pong = client->Ping();
  return pong.ok() && pong->workers > 0;
}

void PrintAddresses(Session& session, const HomeAddresses& addresses, std::string_view what) {
  session.terminal().PrintJson(addresses.ToJson());
  session.terminal().Print(fmt::format("Lorry {}: {}\n  clients {}\n  workers {}\n  home    {}\n", what, addresses.http,
                                       addresses.client, addresses.worker, addresses.home));
}

// Where the daemons' logs ended before they were started.
using LogEnds = std::map<std::string, int64_t>;

// What a daemon said of its end: the newest error in its log from byte `begin` on, or the line that it writes where it has no log
// yet; empty where it said none.
std::string LastComplaint(const std::string& home, const std::string& daemon, int64_t begin) {
  const Result<std::string> log = ReadFile(LogPath(home, daemon), kLongestLog);
  if (!log.ok()) return "";
  const std::string opening = daemon + ": ";
  std::string complaint;
  for (const std::string& line : Split(log->substr(std::min<size_t>(begin, log->size())), '\n')) {
    const size_t at = line.find(kErrorMark);
    if (at != std::string::npos) complaint = line.substr(at + kErrorMark.size());
    if (line.starts_with(opening)) complaint = line.substr(opening.size());
  }
  return complaint.empty() ? "" : ": " + EscapeControl(complaint, 2000);
}

// A daemon's own refusals keep their status; whatever else it dies of, nothing answers.
ErrorCode CodeOfEnd(std::optional<int> status) {
  for (const ErrorCode code : {ErrorCode::kSpec, ErrorCode::kNotAllowed}) {
    if (status == ExitStatusOf(code)) return code;
  }
  return ErrorCode::kUnreachable;
}

// Of the daemon that ended by itself: lorryd where both did, since the worker needs it.
Error WhyNotReady(const Supervisor& supervisor, const std::string& home, const LogEnds& log_ends) {
  const std::string who = supervisor.LastStatusOf("lorryd") ? "lorryd" : "lorry-worker";
  return MakeError(CodeOfEnd(supervisor.LastStatusOf(who)),
                   "the daemons did not come up" + LastComplaint(home, who, log_ends.at(who)),
                   fmt::format("see {0}/logs/lorryd.log and lorry-worker.log, or run lorry doctor", home));
}

// Waits until the daemons answer; ends them again where they do not.
Status AwaitReady(Supervisor& supervisor, const HomeAddresses& addresses, const LogEnds& log_ends) {
  const int64_t deadline = SystemClock().MonotonicMillis() + kReadyWithin.count();
  while (!IsReady(addresses)) {
    const bool asked_to_end = supervisor.Step(kPollEvery);
    if (asked_to_end || supervisor.restarts() > 3 || SystemClock().MonotonicMillis() > deadline) {
      const Error error = WhyNotReady(supervisor, addresses.home, log_ends);
      supervisor.EndAll();
      return error;
    }
  }
  return OkStatus();
}

Result<int> WatchHome(Session& session, const UpOptions& options) {
  LORRY_ASSIGN_OR_RETURN(UpPlan plan, MakeUpPlan(session.home(), options));
  Supervisor supervisor(Daemons(plan));
  LogEnds log_ends;
  for (const char* daemon : {"lorryd", "lorry-worker"}) {
    const Result<Bytes> size = FileSize(LogPath(session.home(), daemon));
    log_ends[daemon] = size.ok() ? size->count() : 0;
  }
  LORRY_TRY(supervisor.Start());
  LORRY_TRY(AwaitReady(supervisor, plan.addresses, log_ends));
  plan.addresses.pid = getpid();
  plan.addresses.start_ticks = ProcessStartTicks(getpid()).value_or(0);
  if (const Status written = WriteHomeAddresses(plan.addresses); !written.ok()) {
    supervisor.EndAll();
    return written.error();
  }
  PrintAddresses(session, plan.addresses, "is up");
  supervisor.Watch(
      [&](const std::string& line) { session.terminal().Note(fmt::format("{} {}", FormatUtc(SystemClock().Now()), line)); });
  RemoveHomeAddresses(session.home());
  return 0;
}

// What a `lorry up --json` said of its end in its log from byte `begin` on.
Error ComplaintOf(const std::string& log_path, int64_t begin) {
  const Result<std::string> log = ReadFile(log_path, kLongestLog);
  const std::vector<std::string> lines =
      log.ok() ? Split(log->substr(std::min<size_t>(begin, log->size())), '\n') : std::vector<std::string>();
  std::string last;
  for (const std::string& line : lines) {
    if (Trim(line).empty()) continue;
    const Result<nlohmann::json> document = ParseJson(line);
    if (document.ok() && document->is_object() && document->contains("error")) return ErrorFromJson(document->at("error"));
    last = line;
  }
  return MakeError(ErrorCode::kUnreachable, "lorry up ended: " + EscapeControl(last, 2000), "the whole log: " + log_path);
}

// Starts `lorry up` once more as a process of its own and waits until the home is up. What it refuses is refused here alike.
Result<int> Detach(Session& session, const UpOptions& options) {
  SpawnOptions spawn;
  spawn.argv = {ProgramDirectory() + "/lorry", "up", "--json", "--home", session.home()};
  if (!options.devices.empty()) spawn.argv.insert(spawn.argv.end(), {"--devices", options.devices});
  if (options.port != 0) spawn.argv.insert(spawn.argv.end(), {"--port", std::to_string(options.port)});
  spawn.stdout_path = spawn.stderr_path = session.home() + "/logs/up.log";
  spawn.die_with_parent = false;
  const Result<Bytes> log_begin = FileSize(spawn.stderr_path);
  LORRY_ASSIGN_OR_RETURN(ChildProcess child, ChildProcess::Start(spawn));
  for (;;) {
    if (child.Wait(kPollEvery)) return ComplaintOf(spawn.stderr_path, log_begin.ok() ? log_begin->count() : 0);
    if (const auto addresses = ReadHomeAddresses(session.home()); addresses && addresses->pid == child.pid()) {
      PrintAddresses(session, *addresses, "is up");
      child.Release();
      return 0;
    }
  }
}

// Every running attempt is stopped with the time for a checkpoint, and nothing new begins. Does nothing where no scheduler
// answers.
void DrainRuns(Session& session) {
  const int64_t deadline = SystemClock().MonotonicMillis() + kWorkerGrace.count();
  wire::WatchRun news;  // of all runs
  news.wait_ms = 1'000;
  for (;;) {
    const Result<nlohmann::json> answer = session.Ask("scheduler.drain", {{"drain", true}});
    const int64_t running = answer.ok() && answer->is_object() ? answer->value("running", int64_t{0}) : 0;
    if (running == 0 || SystemClock().MonotonicMillis() > deadline) return;
    session.terminal().Progress(StoppingText(running), 0, 0);
    const Result<SchedulerClient*> scheduler = session.Scheduler();
    if (!scheduler.ok()) return;
    const Result<wire::RunEvents> events = (*scheduler)->Watch(news);
    if (!events.ok()) return;
    news.after = events->next;
  }
}

}  // namespace

Result<int> RunUp(Session& session, const UpOptions& options) {
  LORRY_TRY(PrepareHome(session.home()));
  if (const auto running = ReadHomeAddresses(session.home())) {
    // A `lorry down` that was broken off has left it draining.
    LORRY_TRY(session.Ask("scheduler.drain", {{"drain", false}}));
    PrintAddresses(session, *running, "is up already");
    return 0;
  }
  if (options.detach) return Detach(session, options);
  LORRY_ASSIGN_OR_RETURN(const std::optional<HomeLock> lock, HomeLock::TryTake(session.home()));
  if (!lock) {
    return MakeError(ErrorCode::kConflict, "another `lorry up` is starting in " + session.home(),
                     "wait for it, or end it with lorry down");
  }
  return WatchHome(session, options);
}

Result<int> RunDown(Session& session) {
  const std::optional<HomeAddresses> running = ReadHomeAddresses(session.home());
  if (!running) {
    session.terminal().Print("Lorry is not up in " + session.home() + "\n");
    session.terminal().PrintJson({{"stopped", false}, {"home", session.home()}});
    return 0;
  }
  const int process = static_cast<int>(syscall(SYS_pidfd_open, running->pid, 0));
  if (process < 0) return ErrnoError("cannot watch process", std::to_string(running->pid));
  session.terminal().Note("stopping; what runs is told to stop first, and is queued again");
  DrainRuns(session);
  kill(running->pid, SIGTERM);
  pollfd ended = {process, POLLIN, 0};
  const int patience = static_cast<int>(kWorkerGrace.count() + kSchedulerGrace.count() + 5'000);
  const bool gone = poll(&ended, 1, patience) == 1;
  close(process);
  if (!gone) {
    return MakeError(ErrorCode::kTimeout, fmt::format("process {} did not end", running->pid), "see " + session.home() + "/logs");
  }
  session.terminal().Print("Lorry is down\n");
  session.terminal().PrintJson({{"stopped", true}, {"home", session.home()}});
  return 0;
}

}  // namespace lorry
