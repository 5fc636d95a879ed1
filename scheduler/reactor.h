// The one thread in which everything is decided and stored.
//
// It takes what has come in (at most 256 messages, at most 2 ms), lets the core decide on each, and stores all of it in one
// transaction; only when that is on the disk are answers, grants and stops sent. Where storing fails nothing of the step was: no
// answer goes out but an error to each client that asked in this turn, the core is built again from the state file, workers say
// hello again.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/store/store.h"
#include "base/transport/poller.h"
#include "base/transport/router_port.h"
#include "base/wire.h"
#include "scheduler/admission.h"
#include "scheduler/blob_desk.h"
#include "scheduler/core.h"
#include "scheduler/desk_threads.h"
#include "scheduler/event_log.h"
#include "scheduler/log_desk.h"
#include "scheduler/ports.h"
#include "scheduler/queries.h"

namespace lorry {

// What the reactor works with; all of it outlives the reactor.
struct ReactorParts {
  std::string home;
  std::string home_id;
  const Clock* clock = nullptr;
  CoreOptions core;
  Store* store = nullptr;
  RouterPort* clients = nullptr;
  RouterPort* workers = nullptr;
  RegistryPort* registry = nullptr;  // may be null
  BooksPort* books = nullptr;        // may be null
  QueryTable queries;
  AdmissionPolicy admission;
};

class Reactor {
 public:
  explicit Reactor(ReactorParts parts);
  ~Reactor();

  // Loads the state, then runs until Stop(). Errors: the state file could not be read or written any more.
  Status Load();
  Status Serve();
  // Any thread.
  void Stop();
  // Any thread: a client's message as if it had come by the client port, and its answer. Errors: kUnreachable after Stop().
  Result<std::string> Exchange(const std::string& message);

 private:
  // Who waits for an answer: a peer of one of the ports, or a thread of this process.
  struct Asker {
    RouterPort* port = nullptr;
    PeerAddress peer;
    uint64_t request = 0;
    std::shared_ptr<std::promise<Result<std::string>>> thread;
  };
  struct Answer {
    Asker to;
    std::string bytes;
  };
  struct Session {
    WorkerId worker;
    std::string user;
    PeerAddress peer;
  };
  struct Watching {
    Asker asker;
    wire::WatchRun question;
    int64_t deadline = 0;
  };
  struct Reading {
    Asker asker;
    wire::ReadLog question;
    int64_t deadline = 0;
  };
  struct Local {
    std::string bytes;
    std::shared_ptr<std::promise<Result<std::string>>> thread;
  };

  // Whatever a message makes our JSON library throw takes back this turn, not the process.
  template <class Handle>
  void Guarded(const Asker& asker, Handle&& handle);

  // One turn, in this order.
  void Wait();
  size_t TakeMessages();
  Status Commit();
  void Speak();
  void Reload(const Error& why);
  void LeaveNobodyWaiting();

  // reactor_clients.cc
  void OnClientMessage(const Asker& asker, const wire::Message& message);
  void OnSubmit(const Asker& asker, const wire::Submit& submit);
  void WriteJobLock(const RunSpec& spec);
  void OnPlan(const Asker& asker, const wire::Plan& plan);
  void OnRunWish(const Asker& asker, const RunId& id, const std::function<Actions()>& wish);
  void OnQuery(const Asker& asker, const wire::Query& query);
  Result<std::string> AnswerWrite(const WriteQuery& handler, const wire::Query& query);
  void OnDrainQuery(const Asker& asker, const wire::Query& query);
  bool OnBlobMessage(const Asker& asker, const wire::Message& message);
  std::string SpentSoFar(Database& db, const RunId& id) const;  // empty where there are no books or no price
  bool TryAnswer(const Watching& watching, bool out_of_time);
  bool TryAnswer(const Reading& reading, bool out_of_time);
  void AnswerLongPolls();

  // reactor_workers.cc
  void OnWorkerMessage(const Asker& asker, const std::string& user, const wire::Message& message);
  void AskWho(const Asker& asker, uint64_t session);
  void OnHello(const Asker& asker, const std::string& user, const wire::Hello& hello);
  void OnSessionMessage(const Asker& asker, const WorkerId& worker, const wire::Message& message);
  void SendToWorker(const Send& send);

  void Apply(Actions actions);
  Status StoreActions(const Actions& actions);
  Database* OpenTransaction();
  template <class Body>
  void Reply(const Asker& asker, const Body& body) {
    wire::Header header;
    header.request = asker.request;
    answers_.push_back(Answer{asker, wire::EncodeMessage(header, body)});
  }
  void ReplyError(const Asker& asker, const Error& error) { Reply(asker, wire::ErrorReply{wire::ErrorDetail::Of(error)}); }
  template <class Body>
  void ReplyResult(const Asker& asker, const Result<Body>& result) {
    if (result.ok()) {
      Reply(asker, *result);
    } else {
      ReplyError(asker, result.error());
    }
  }
  // From a desk's thread: the answer goes out in the reactor's next turn.
  void PostAnswer(const Asker& asker, std::string bytes);
  void Tick();
  void CheckBudgets();
  Moment Now() const { return {parts_.clock->Now(), Steady(parts_.clock->MonotonicMillis())}; }

  ReactorParts parts_;
  std::unique_ptr<Core> core_;
  EventLog log_;
  BlobDesk blobs_;
  LogDesk logs_;
  Poller poller_;
  WakeUp wake_;

  std::optional<Transaction> transaction_;  // of this turn, once something changes
  std::optional<Error> failed_;             // this turn cannot be stored
  std::string unstored_;                    // why the last change could not be stored; empty: it was
  std::vector<Answer> answers_;
  std::vector<Send> sends_;
  std::vector<RunId> accepted_;  // in this turn: their folders are made once that is on the disk
  std::map<uint64_t, Session> sessions_;
  std::map<WorkerId, uint64_t> session_of_;
  std::vector<Watching> watching_;
  std::vector<Reading> reading_;
  Sequence watched_up_to_;
  int64_t next_tick_ = 0;
  int64_t next_budget_check_ = 0;
  Instant started_;

  std::mutex mutex_;  // guards the four below
  std::deque<Local> inbox_;
  std::vector<Answer> outbox_;
  bool stopping_ = false;
  std::unique_ptr<DeskThreads> desks_;  // last: its threads use everything above
};

}  // namespace lorry
