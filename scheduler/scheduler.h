// The scheduler as one object: opens a home, its ports and its state file, and runs the reactor in a thread of its own.
//
//   SchedulerOptions options; options.home = home; ...
//   LORRY_ASSIGN_OR_RETURN(std::unique_ptr<Scheduler> scheduler, Scheduler::Start(std::move(options)));
//   scheduler->Call<wire::RunList>(wire::ListRuns{});       // any thread of this process
//   scheduler->store().Read();                              // any thread: reports, pages
//   scheduler->Stop();
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/store/store.h"
#include "base/transport/context.h"
#include "base/transport/router_port.h"
#include "base/transport/zap_handler.h"
#include "base/wire.h"
#include "scheduler/admission.h"
#include "scheduler/core.h"
#include "scheduler/ports.h"
#include "scheduler/queries.h"

namespace lorry {

class Reactor;

struct SchedulerOptions {
  std::string home;
  std::string bind_address = "127.0.0.1";
  int client_port = 8601;  // 0: a free one
  int worker_port = 8602;
  CoreOptions core;
  QueryTable queries;                      // beside those that the scheduler brings itself
  std::vector<Migration> migrations;       // of the folders whose tables lie beside the scheduler's
  std::unique_ptr<RegistryPort> registry;  // may be null
  std::unique_ptr<BooksPort> books;        // may be null
  AdmissionPolicy admission;
  const Clock* clock = &SystemClock();
  // False only in the test that shows that the ports stay closed without it.
  bool start_zap_handler = true;
};

class Scheduler {
 public:
  // Makes home, keys and state file where the home is new. Errors: kConflict where another scheduler has this home or a port is
  // taken; kNotAllowed where a port's lock fails its self-test or a secret can be read by others; kData, kNotFound, kStorage for
  // the state file (base/store/store.h).
  static Result<std::unique_ptr<Scheduler>> Start(SchedulerOptions options);
  // As Stop().
  ~Scheduler();
  // Closes ports and file; running attempts go on in their workers. Idempotent; not from the reactor's thread.
  void Stop();

  // "tcp://127.0.0.1:8601", with the port that was taken.
  const std::string& client_endpoint() const { return clients_->endpoint(); }
  const std::string& worker_endpoint() const { return workers_->endpoint(); }
  const std::string& home() const { return options_.home; }
  Store& store() { return *store_; }
  // Not ok once the reactor had to give up; the process should end then and be started again.
  bool healthy() const { return healthy_; }

  // A client's message from a thread of this process, answered after its commit.
  template <class Reply, class Request>
  Result<Reply> Call(const Request& request) {
    LORRY_ASSIGN_OR_RETURN(std::string bytes, Exchange(wire::EncodeMessage(wire::Header{}, request)));
    LORRY_ASSIGN_OR_RETURN(wire::Message message, wire::ParseMessage(bytes));
    return wire::DecodeReply<Reply>(message);
  }
  Result<std::string> Exchange(const std::string& message);

 private:
  explicit Scheduler(SchedulerOptions options);
  Status LockHome();
  Status OpenStore();
  Status OpenPorts();

  SchedulerOptions options_;
  int home_lock_ = -1;
  std::string home_id_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<TransportContext> context_;
  std::unique_ptr<ZapHandler> zap_;
  std::unique_ptr<RouterPort> clients_;
  std::unique_ptr<RouterPort> workers_;
  std::unique_ptr<Reactor> reactor_;
  std::thread thread_;
  std::atomic<bool> healthy_{true};
};

}  // namespace lorry
