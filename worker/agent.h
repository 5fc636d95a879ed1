// The worker: owns this node's devices, runs what the scheduler grants on them, and tells it everything.
//
// One thread, one loop: wait for a message, a signal, a rank's line or finished background work; let the attempt that it is about
// go on; say what is due (a heartbeat, an answer that did not come). The scheduler may be away: ranks keep running, and what must
// not be lost is said when it is back. Ranks die with the worker; a worker that starts first ends what an earlier one left.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/transport/context.h"
#include "base/transport/dealer_link.h"
#include "base/transport/poller.h"
#include "worker/agent_options.h"
#include "worker/attempt.h"
#include "worker/background.h"
#include "worker/blob_mover.h"
#include "worker/outbox.h"
#include "worker/storage_probe.h"
#include "worker/worker_clock.h"

namespace lorry {

class Agent {
 public:
  // Takes the home (one worker at a time), ends leftovers, finds the devices, begins to connect. From here on SIGTERM, SIGINT and
  // SIGCHLD are the agent's; make it before any other thread. Errors: kConflict where another worker has the home, kNotFound for
  // keys or GPUs that are not there, kUsage, kStorage.
  static Result<std::unique_ptr<Agent>> Make(AgentOptions options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Until SIGTERM or SIGINT; then the attempts checkpoint and end first. A second signal ends at once.
  // Errors: kNotAllowed where the scheduler refuses this worker's key.
  Status Run();

 private:
  explicit Agent(AgentOptions options);
  Status TakeHome();
  Status MakeSocketDir();
  Status Connect();
  Status OpenSignals();

  // The loop.
  Millis WaitTime() const;
  Status Turn();
  void TakeSignals();
  void TakeMessages();
  void TakeMessage(const wire::Message& message);
  void Tick(int64_t monotonic_ms);
  void ForgetOver();
  void BeginToEnd();
  bool MayEnd(int64_t monotonic_ms) const;

  // The session.
  void ReadHomeId();
  void SayHello(int64_t monotonic_ms);
  void OnWelcome(const wire::Welcome& welcome);
  void SayHeartbeat(int64_t monotonic_ms);
  void OnHeartbeatAck(uint64_t request);
  Status CheckLink(int64_t monotonic_ms);

  // Attempts.
  void OnGrant(const wire::Grant& grant);
  void OnStop(const wire::Stop& stop);
  Attempt* Find(const wire::AttemptRef& ref);

  AgentOptions options_;
  WorkerClock clock_;
  std::string incarnation_;
  std::string home_id_;  // empty: not a scheduler's home, or not yet
  bool said_home_id_ = false;
  std::string socket_dir_;
  int lock_fd_ = -1;
  int signal_fd_ = -1;
  std::vector<wire::Device> devices_;

  std::shared_ptr<TransportContext> context_;
  std::unique_ptr<DealerLink> link_;
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<Background> background_;
  std::unique_ptr<BlobMover> mover_;
  std::unique_ptr<StorageProbe> storage_;
  Poller poller_;

  bool shares_home_ = false;
  uint64_t connections_ = 0;  // as of the last Hello
  int64_t hello_at_ = 0;      // monotonic; 0: not yet
  int64_t heard_at_ = 0;
  int64_t heartbeat_at_ = 0;
  int64_t heartbeat_ms_ = 1000;
  struct Beat {
    uint64_t request = 0;
    std::vector<std::pair<std::weak_ptr<Attempt>, Meter::Piece>> pieces;
  };
  std::vector<Beat> beats_;  // heartbeats without an answer, the newest few

  std::vector<std::shared_ptr<Attempt>> attempts_;
  int signals_ = 0;     // SIGTERM and SIGINT so far
  int64_t end_by_ = 0;  // monotonic; 0: nobody asked it to end
};

}  // namespace lorry
