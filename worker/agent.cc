#include "worker/agent.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/files.h"
#include "base/process.h"
#include "base/random.h"
#include "base/transport/keys.h"
#include "worker/command_attempt.h"
#include "worker/devices.h"
#include "worker/held_processes.h"
#include "worker/rank_attempt.h"

namespace lorry {
namespace {

enum Ready : uint64_t { kLink, kSignal, kFinishedWork, kRanks };

constexpr int64_t kHelloEveryMillis = 1000;
constexpr int64_t kSilentMillis = 5000;  // and three heartbeats: then the connection is made anew
constexpr int64_t kTickMillis = 100;
constexpr size_t kMostBeats = 8;
constexpr size_t kLongestSocketDir = 80;  // a slash, a run's id, a dash and an attempt's number follow
constexpr Millis kReportGrace(5000);      // to get the last Finished committed, once the ranks have ended

std::string HostName() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

}  // namespace

Agent::Agent(AgentOptions options) : options_(std::move(options)), clock_(SystemClock()) {
  if (options_.worker.empty()) options_.worker = WorkerId(HostName());
  if (options_.programs.empty()) {
    options_.programs = {{"finetune", ProgramDirectory() + "/lorry-train"}, {"batch", ProgramDirectory() + "/lorry-batch"}};
  }
}

Result<std::unique_ptr<Agent>> Agent::Make(AgentOptions options) {
  std::unique_ptr<Agent> agent(new Agent(std::move(options)));
  LORRY_TRY(agent->TakeHome());
  LORRY_TRY(agent->OpenSignals());
  LORRY_ASSIGN_OR_RETURN(const int ended, HeldProcesses::EndLeftovers(agent->options_.home));
  if (ended > 0) spdlog::warn("ended {} processes that an earlier worker left", ended);
  LORRY_TRY(agent->MakeSocketDir());
  LORRY_ASSIGN_OR_RETURN(const DeviceRequest request, ParseDeviceRequest(agent->options_.devices));
  LORRY_ASSIGN_OR_RETURN(agent->devices_, FindDevices(request, agent->options_.worker, agent->options_.nvml_library));
  LORRY_TRY(agent->Connect());
  return agent;
}

Agent::~Agent() {
  attempts_.clear();  // ends their processes
  if (!socket_dir_.empty()) (void)RemoveTree(socket_dir_).ok();
  if (signal_fd_ >= 0) ::close(signal_fd_);
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Status Agent::TakeHome() {
  LORRY_TRY(MakeDirectories(options_.home + "/worker"));
  const std::string path = options_.home + "/worker/lock";
  lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return ErrnoError("cannot open", path);
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return MakeError(ErrorCode::kConflict, fmt::format("another worker runs in {}", options_.home),
                     "give this one a --home of its own");
  }
  ReadHomeId();
  incarnation_ = fmt::format("{}-{}", SystemClock().Now().millis(), ::getpid());
  return OkStatus();
}

void Agent::ReadHomeId() {
  if (const auto id = ReadFile(options_.home + "/home.id", 4096); id.ok()) home_id_ = *id;
}

// Socket names have 107 bytes, and a home's path may have more: then the sockets lie in a short folder elsewhere, of which a note
// in the home tells the next worker. What a worker that was killed left is removed, and goes with the home where there is no next
// one.
Status Agent::MakeSocketDir() {
  const std::string own = options_.home + "/worker/sockets";
  const std::string note = options_.home + "/worker/sockets-elsewhere";
  const std::string pattern = "/tmp/lorry-worker-";
  if (const auto old = ReadFile(note, 4096); old.ok() && old->starts_with(pattern)) (void)RemoveTree(*old).ok();
  LORRY_TRY(RemoveTree(own));
  if (own.size() <= kLongestSocketDir) {
    socket_dir_ = own;
    return MakeDirectories(own, 0700);
  }
  std::string made = pattern + "XXXXXX";
  if (::mkdtemp(made.data()) == nullptr) return ErrnoError("cannot make", made);
  socket_dir_ = made;
  return WriteFileAtomically(note, socket_dir_);
}

Status Agent::OpenSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  return signal_fd_ >= 0 ? OkStatus() : Status(ErrnoError("cannot watch", "signals"));
}

Status Agent::Connect() {
  DealerLinkOptions link{.address = options_.address, .server_public_key = options_.server_public_key, .keys = {}};
  const std::string keys = KeysDirectory(options_.home);
  LORRY_ASSIGN_OR_RETURN(link.keys, ReadKeyPair(keys, "worker"));
  if (link.server_public_key.empty()) {
    LORRY_ASSIGN_OR_RETURN(link.server_public_key, ReadPublicKey(keys + "/scheduler.public"));
  }
  context_ = TransportContext::Make();
  LORRY_ASSIGN_OR_RETURN(link_, DealerLink::Connect(context_, link));
  outbox_ = std::make_unique<Outbox>(link_.get());
  background_ = std::make_unique<Background>();
  mover_ = std::make_unique<BlobMover>(options_.home, outbox_.get());
  storage_ = std::make_unique<StorageProbe>(options_.home, background_.get());
  heard_at_ = SystemClock().MonotonicMillis();
  return OkStatus();
}

Status Agent::Run() {
  spdlog::info("worker {} with {} devices, scheduler at {}", options_.worker, devices_.size(), options_.address);
  while (!MayEnd(SystemClock().MonotonicMillis())) LORRY_TRY(Turn());
  return OkStatus();
}

Millis Agent::WaitTime() const {
  const int64_t until_beat = heartbeat_at_ + heartbeat_ms_ - SystemClock().MonotonicMillis();
  return Millis(std::clamp<int64_t>(until_beat, 1, kTickMillis));
}

Status Agent::Turn() {
  poller_.Clear();
  poller_.Watch(*link_, kLink);
  poller_.Watch(signal_fd_, kSignal);
  poller_.Watch(background_->fd(), kFinishedWork);
  for (const auto& attempt : attempts_) attempt->Watch(&poller_, kRanks);
  const std::vector<uint64_t> ready = poller_.Wait(WaitTime());
  const auto is_ready = [&ready](Ready what) { return std::find(ready.begin(), ready.end(), what) != ready.end(); };

  if (is_ready(kSignal)) TakeSignals();
  if (is_ready(kLink)) TakeMessages();
  if (is_ready(kFinishedWork)) background_->RunFinished();
  if (is_ready(kRanks)) {
    for (const auto& attempt : attempts_) attempt->OnReadable();
  }
  const int64_t now = SystemClock().MonotonicMillis();
  Tick(now);
  return CheckLink(now);
}

void Agent::TakeSignals() {
  bool child = false;
  signalfd_siginfo info;
  while (::read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (info.ssi_signo == SIGCHLD) {
      child = true;
    } else {
      ++signals_;
    }
  }
  if (child) {
    for (const auto& attempt : attempts_) attempt->OnChildExit();
  }
  if (signals_ > 0 && end_by_ == 0) BeginToEnd();
}

void Agent::BeginToEnd() {
  spdlog::info("asked to end; {} attempts checkpoint first", attempts_.size());
  const int64_t now = SystemClock().MonotonicMillis();
  end_by_ = now + (options_.stop_grace + kReportGrace).count();
  if (outbox_->in_session()) SayHeartbeat(now);  // that it is leaving, before the ends that follow from it
  for (const auto& attempt : attempts_) {
    attempt->Stop({.attempt = attempt->ref(),
                   .mode = wire::StopMode::kCheckpoint,
                   .reason = EndReason::kPreempted,
                   .grace_ms = static_cast<uint32_t>(options_.stop_grace.count())});
  }
}

bool Agent::MayEnd(int64_t monotonic_ms) const {
  if (end_by_ == 0) return false;
  return attempts_.empty() || signals_ > 1 || monotonic_ms >= end_by_;
}

void Agent::TakeMessages() {
  while (const std::optional<std::string> bytes = link_->Receive(Millis(0))) {
    const auto message = wire::ParseMessage(*bytes);
    if (!message.ok()) {
      spdlog::warn("{}", message.error().Format());
      continue;
    }
    heard_at_ = SystemClock().MonotonicMillis();
    TakeMessage(*message);
  }
}

void Agent::TakeMessage(const wire::Message& message) {
  const auto decode = [&message](auto body, auto&& then) {
    auto decoded = wire::DecodeBody<decltype(body)>(message);
    if (decoded.ok()) {
      then(*decoded);
    } else {
      spdlog::warn("{}", decoded.error().Format());
    }
  };
  switch (message.header.type) {
    case wire::Type::kWelcome:
      return decode(wire::Welcome(), [this](const auto& welcome) { OnWelcome(welcome); });
    case wire::Type::kWhoAreYou:
      // One for each message of a session that is over; the hello that followed it is on its way, or is said again in a second.
      if (!outbox_->in_session() || message.header.session != outbox_->session()) return;
      outbox_->EndSession();
      return SayHello(heard_at_);
    case wire::Type::kHeartbeatAck:
      return OnHeartbeatAck(message.header.request);
    case wire::Type::kGrant:
      return decode(wire::Grant(), [this](const auto& grant) { OnGrant(grant); });
    case wire::Type::kStop:
      return decode(wire::Stop(), [this](const auto& stop) { OnStop(stop); });
    default:
      break;
  }
  if (mover_->OnMessage(message)) return;
  for (const auto& attempt : attempts_) {
    if (attempt->OnMessage(message)) return;
  }
  outbox_->Answered(message.header.request);  // whoever asked is over
  if (message.header.type != wire::Type::kErrorReply) return;
  decode(wire::ErrorReply(),
         [](const auto& refused) { spdlog::warn("the scheduler refuses: {}", refused.error.ToError().Format()); });
}

void Agent::Tick(int64_t monotonic_ms) {
  for (const auto& attempt : attempts_) attempt->OnTick(monotonic_ms);
  storage_->Tick(monotonic_ms);
  ForgetOver();
  if (outbox_->in_session() && monotonic_ms - heartbeat_at_ >= heartbeat_ms_) SayHeartbeat(monotonic_ms);
  outbox_->Flush(monotonic_ms);
}

void Agent::ForgetOver() {
  std::erase_if(attempts_, [](const std::shared_ptr<Attempt>& attempt) { return attempt->over(); });
}

Status Agent::CheckLink(int64_t monotonic_ms) {
  if (std::optional<Error> refusal = link_->Refusal()) return *std::move(refusal);
  if (link_->connections() != connections_) {
    outbox_->EndSession();
    SayHello(monotonic_ms);
  } else if (connections_ > 0 && !outbox_->in_session() && monotonic_ms - hello_at_ >= kHelloEveryMillis) {
    SayHello(monotonic_ms);
  }
  if (monotonic_ms - heard_at_ > std::max(kSilentMillis, 3 * heartbeat_ms_)) {
    heard_at_ = monotonic_ms;
    outbox_->EndSession();
    LORRY_TRY(link_->Reconnect());
  }
  return OkStatus();
}

void Agent::SayHello(int64_t monotonic_ms) {
  wire::Hello hello{.worker = options_.worker,
                    .incarnation = incarnation_,
                    .build = LORRY_VERSION,
                    .host = HostName(),
                    .home_id = home_id_,
                    .devices = devices_,
                    .holds = {}};
  for (const auto& attempt : attempts_) {
    if (!attempt->reported()) hello.holds.push_back(attempt->ref());
  }
  said_home_id_ = !home_id_.empty();
  connections_ = link_->connections();
  hello_at_ = monotonic_ms;
  (void)outbox_->SayHello(hello).ok();  // without a connection: again in a second
}

void Agent::OnWelcome(const wire::Welcome& welcome) {
  if (home_id_.empty()) ReadHomeId();  // a scheduler that began this home with us has written it by now
  if (!home_id_.empty() && !said_home_id_) return SayHello(SystemClock().MonotonicMillis());
  shares_home_ = welcome.shares_home;
  heartbeat_ms_ = std::max<int64_t>(welcome.heartbeat_ms, 10);
  outbox_->BeginSession(welcome.session);
  for (const wire::AttemptRef& ref : welcome.stop) {
    if (Attempt* attempt = Find(ref)) attempt->Abandon();
  }
  ForgetOver();
  SayHeartbeat(SystemClock().MonotonicMillis());
}

void Agent::SayHeartbeat(int64_t monotonic_ms) {
  heartbeat_at_ = monotonic_ms;
  wire::Heartbeat beat;
  beat.storage_problem = storage_->problem();
  beat.storage_ok = beat.storage_problem.empty();
  beat.leaving = end_by_ != 0;
  Beat sent;
  for (const auto& attempt : attempts_) {
    Meter::Piece piece = attempt->meter().Unsettled(clock_.Now());
    beat.metered.push_back({.attempt = attempt->ref(), .first_span = piece.first_span, .spans = piece.spans});
    sent.pieces.emplace_back(attempt, std::move(piece));
  }
  sent.request = outbox_->Post(beat, Epoch());
  beats_.push_back(std::move(sent));
  if (beats_.size() > kMostBeats) beats_.erase(beats_.begin());
}

void Agent::OnHeartbeatAck(uint64_t request) {
  for (const Beat& beat : beats_) {
    if (beat.request != request) continue;
    for (const auto& [weak, piece] : beat.pieces) {
      if (const auto attempt = weak.lock()) attempt->meter().Settle(piece);
    }
  }
  std::erase_if(beats_, [request](const Beat& beat) { return beat.request <= request; });
}

Attempt* Agent::Find(const wire::AttemptRef& ref) {
  const auto found =
      std::find_if(attempts_.begin(), attempts_.end(), [&ref](const auto& attempt) { return attempt->ref() == ref; });
  return found != attempts_.end() ? found->get() : nullptr;
}

void Agent::OnGrant(const wire::Grant& grant) {
  if (Find(grant.attempt) != nullptr || end_by_ != 0) return;
  for (const auto& attempt : attempts_) {
    // Its epoch is over, or there would be no new one; what is left of the logs of one that is reported goes on.
    if (attempt->ref().run == grant.attempt.run && !attempt->reported()) attempt->Abandon();
  }
  ForgetOver();
  std::vector<MeteredDevice> devices;
  std::string missing;
  for (const DeviceId& id : grant.devices) {
    const auto known =
        std::find_if(devices_.begin(), devices_.end(), [&id](const wire::Device& device) { return device.id == id; });
    if (known == devices_.end()) missing = id.str();
    devices.push_back({id, known != devices_.end() ? known->kind : "unknown"});
  }
  const AttemptSurroundings around{&options_,    &clock_,        outbox_.get(), background_.get(),
                                   mover_.get(), storage_.get(), socket_dir_,   &shares_home_};
  std::shared_ptr<Attempt> attempt;
  if (grant.kind == "command") {
    attempt = std::make_shared<CommandAttempt>(grant, devices, around);
  } else {
    attempt = std::make_shared<RankAttempt>(grant, devices, around);
  }
  spdlog::info("{} attempt {} on {} devices", grant.attempt.run, grant.attempt.attempt, devices.size());
  attempts_.push_back(attempt);
  if (missing.empty()) {
    attempt->Begin();
  } else {
    attempt->Refuse(EndReason::kNoCapacity,
                    MakeError(ErrorCode::kNotFound, fmt::format("device {} is not here any more", missing)));
  }
  SayHeartbeat(SystemClock().MonotonicMillis());
}

void Agent::OnStop(const wire::Stop& stop) {
  if (Attempt* attempt = Find(stop.attempt)) attempt->Stop(stop);
}

}  // namespace lorry
