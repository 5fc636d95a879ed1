// What comes by the worker port: a hello makes a session, everything else belongs to one.
#include <random>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "scheduler/reactor.h"

namespace lorry {
namespace {

uint64_t RandomSession() {
  std::random_device random;
  return (uint64_t{random()} << 32 | random()) | 1;
}

}  // namespace

// A session belongs to the key that its hello came with, and to the newest connection of that key's worker.
void Reactor::OnWorkerMessage(const Asker& asker, const std::string& user, const wire::Message& message) {
  if (message.header.type == wire::Type::kHello) {
    auto hello = wire::DecodeBody<wire::Hello>(message);
    if (!hello.ok()) return ReplyError(asker, hello.error());
    return OnHello(asker, user, *hello);
  }
  if (OnBlobMessage(asker, message)) return;
  auto session = sessions_.find(message.header.session);
  if (session == sessions_.end() || session->second.user != user) return AskWho(asker, message.header.session);
  session->second.peer = asker.peer;
  const WorkerId worker = session->second.worker;
  auto known = core_->state().workers.find(worker);
  if (known == core_->state().workers.end() || known->second.health == Health::kLost) {
    session_of_.erase(worker);
    sessions_.erase(session);
    return AskWho(asker, message.header.session);
  }
  Apply(core_->OnSignOfLife(worker, Now()));
  OnSessionMessage(asker, worker, message);
}

// Names the session that is not known: a worker has many messages on the way, and an answer to one of an earlier session must not
// make it begin another.
void Reactor::AskWho(const Asker& asker, uint64_t session) {
  wire::Header header;
  header.request = asker.request;
  header.session = session;
  answers_.push_back(Answer{asker, wire::EncodeMessage(header, wire::WhoAreYou{})});
}

void Reactor::OnHello(const Asker& asker, const std::string& user, const wire::Hello& hello) {
  if (hello.worker.empty() || hello.incarnation.empty()) {
    return ReplyError(asker, MakeError(ErrorCode::kUsage, "a worker needs a name and an incarnation"));
  }
  auto old = session_of_.find(hello.worker);
  if (old != session_of_.end()) {
    const Session& session = sessions_.at(old->second);
    const auto worker = core_->state().workers.find(hello.worker);
    const bool lives = worker != core_->state().workers.end() && worker->second.health == Health::kHealthy;
    if (session.user != user && lives) {
      return ReplyError(
          asker, MakeError(ErrorCode::kNotAllowed, fmt::format("worker {} is here already under another key", hello.worker),
                           "give this worker another name"));
    }
    sessions_.erase(old->second);
  }
  const uint64_t number = RandomSession();
  sessions_[number] = Session{hello.worker, user, asker.peer};
  session_of_[hello.worker] = number;
  Actions actions = core_->OnHello(hello, Now());
  wire::Welcome welcome;
  welcome.session = number;
  welcome.heartbeat_ms = static_cast<uint32_t>(parts_.core.heartbeat.count());
  welcome.lease_ms = static_cast<uint32_t>(parts_.core.lease.count());
  welcome.shares_home = hello.home_id == parts_.home_id;
  welcome.stop = actions.stop;
  // The welcome first: a grant that this hello led to comes behind it.
  sends_.push_back(Send{hello.worker, asker.request, std::move(welcome)});
  Apply(std::move(actions));
  spdlog::info("worker {} on {} with {} devices", hello.worker, hello.host, hello.devices.size());
}

#define LORRY_ON_WORKER(Body, Event)                                 \
  case wire::Body::kType: {                                          \
    auto body = wire::DecodeBody<wire::Body>(message);               \
    if (!body.ok()) return ReplyError(asker, body.error());          \
    return Apply(core_->Event(worker, asker.request, *body, Now())); \
  }

void Reactor::OnSessionMessage(const Asker& asker, const WorkerId& worker, const wire::Message& message) {
  switch (message.header.type) {
    LORRY_ON_WORKER(Heartbeat, OnHeartbeat)
    LORRY_ON_WORKER(Checkpoint, OnCheckpoint)
    LORRY_ON_WORKER(Finished, OnFinished)
    LORRY_ON_WORKER(RowsWanted, OnRowsWanted)
    LORRY_ON_WORKER(RowReports, OnRowReports)
    LORRY_ON_WORKER(ElementsWanted, OnElementsWanted)
    LORRY_ON_WORKER(ElementReports, OnElementReports)
    case wire::Progress::kType: {
      auto body = wire::DecodeBody<wire::Progress>(message);
      if (!body.ok()) return ReplyError(asker, body.error());
      const auto live = core_->state().attempts.find(body->attempt.run);
      if (live != core_->state().attempts.end() && live->second.ref == body->attempt && live->second.worker == worker) {
        logs_.AppendMetrics(body->attempt.run, body->lines);
      }
      return Apply(core_->OnProgress(worker, *body, Now()));
    }
    case wire::LogBytes::kType: {
      auto body = wire::DecodeBody<wire::LogBytes>(message);
      if (!body.ok()) return ReplyError(asker, body.error());
      const Run* run = core_->state().FindRun(body->attempt.run);
      if (run == nullptr || body->attempt.attempt.value() == 0 || body->attempt.attempt.value() > run->attempts) {
        return Reply(asker, wire::LogAck{body->attempt, body->rank, body->offset + body->bytes.size()});
      }
      return ReplyResult(asker, logs_.Take(*body));
    }
    case wire::ListRows::kType: {
      auto body = wire::DecodeBody<wire::ListRows>(message);
      if (!body.ok()) return ReplyError(asker, body.error());
      Database* db = OpenTransaction();
      if (db != nullptr) ReplyResult(asker, CommittedRows(*db, body->attempt.run, body->from, std::min(body->limit, 20000u)));
      return;
    }
    default:
      ReplyError(asker, MakeError(ErrorCode::kUnsupported,
                                  fmt::format("a worker may not send {}", wire::TypeName(message.header.type))));
  }
}

// To the worker's newest connection; where that is gone, its next heartbeat brings what matters again.
void Reactor::SendToWorker(const Send& send) {
  auto number = session_of_.find(send.worker);
  if (number == session_of_.end()) return;
  wire::Header header;
  header.session = number->second;
  header.request = send.request;
  const std::string bytes = std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.attempt.epoch; }) header.epoch = body.attempt.epoch.value();
        return wire::EncodeMessage(header, body);
      },
      send.body);
  Status sent = parts_.workers->Send(sessions_.at(number->second).peer, bytes);
  if (!sent.ok()) spdlog::debug("worker {}: {}", send.worker, sent.error().Format());
}

}  // namespace lorry
