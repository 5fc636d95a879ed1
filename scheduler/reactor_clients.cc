// What comes by the client port (and from threads of this process): each message by its type, each answer after the commit.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "scheduler/client_desk.h"
#include "scheduler/placement.h"
#include "scheduler/reactor.h"

namespace lorry {
namespace {

constexpr uint32_t kLongestPollMillis = 60000;
constexpr Millis kAnswersKept{int64_t{7} * 24 * 3600 * 1000};  // longer than any client repeats a question

template <class Body>
std::string Encoded(uint64_t request, const Result<Body>& result) {
  wire::Header header;
  header.request = request;
  if (!result.ok()) return wire::EncodeMessage(header, wire::ErrorReply{wire::ErrorDetail::Of(result.error())});
  return wire::EncodeMessage(header, *result);
}

Result<wire::JsonReply> AsReply(Result<std::string> json) {
  if (!json.ok()) return json.error();
  return wire::JsonReply{std::move(*json)};
}

}  // namespace

// Decodes the body and does `what` with it, or answers why it cannot be read.
#define LORRY_ON(Body, ...)                                 \
  case wire::Body::kType: {                                 \
    auto body = wire::DecodeBody<wire::Body>(message);      \
    if (!body.ok()) return ReplyError(asker, body.error()); \
    const wire::Body& it = *body;                           \
    (void)it;                                               \
    __VA_ARGS__;                                            \
    return;                                                 \
  }

void Reactor::OnClientMessage(const Asker& asker, const wire::Message& message) {
  if (OnBlobMessage(asker, message)) return;
  const State& state = core_->state();
  const Moment now = Now();
  const auto known = [&](const RunId& id) -> const Run* {
    const Run* run = state.FindRun(id);
    if (run == nullptr) ReplyError(asker, NoSuchRun(id));
    return run;
  };
  switch (message.header.type) {
    LORRY_ON(Submit, OnSubmit(asker, it))
    LORRY_ON(Plan, OnPlan(asker, it))
    LORRY_ON(Query, OnQuery(asker, it))
    LORRY_ON(ListRuns, Reply(asker, ListRunsFor(state, it, now)))
    LORRY_ON(CancelRun, OnRunWish(asker, it.run, [&] { return core_->OnCancel(it.run, it.now, it.why, now); }))
    LORRY_ON(PauseRun, OnRunWish(asker, it.run, [&] { return core_->OnPause(it.run, now); }))
    LORRY_ON(ResumeRun, OnRunWish(asker, it.run, [&] { return core_->OnResume(it.run, now); }))
    LORRY_ON(ShowRun, {
      const Run* run = known(it.run);
      if (run == nullptr) return;
      Database* db = OpenTransaction();
      if (db == nullptr) return ReplyError(asker, *failed_);
      ReplyResult(asker, AsReply(ShowRunJson(state, *db, *run, now)));
    })
    LORRY_ON(Explain, {
      const Run* run = known(it.run);
      if (run != nullptr) Reply(asker, wire::JsonReply{ExplainJson(state, *run, unstored_, now)});
    })
    LORRY_ON(WatchRun, {
      if (!it.run.empty() && known(it.run) == nullptr) return;
      watching_.push_back(Watching{asker, it, parts_.clock->MonotonicMillis() + std::min(it.wait_ms, kLongestPollMillis)});
      watched_up_to_ = Sequence();  // look at once
    })
    LORRY_ON(ReadLog, {
      const Run* run = known(it.run);
      if (run == nullptr) return;
      if (it.rank > 0) {
        if (Status there = CheckRank(run->spec, it.rank); !there.ok()) return ReplyError(asker, there.error());
      }
      reading_.push_back(Reading{asker, it, parts_.clock->MonotonicMillis() + std::min(it.wait_ms, kLongestPollMillis)});
    })
    default:
      ReplyError(asker, MakeError(ErrorCode::kUnsupported,
                                  fmt::format("a client may not send {} (type {:#06x}) here", wire::TypeName(message.header.type),
                                              static_cast<unsigned>(message.header.type))));
  }
}

// Pings and blobs come by both ports. What touches files is done by a desk's thread.
bool Reactor::OnBlobMessage(const Asker& asker, const wire::Message& message) {
  const uint64_t request = asker.request;
  switch (message.header.type) {
    case wire::Type::kPing: {
      uint32_t workers = 0;
      for (const auto& [id, worker] : core_->state().workers) workers += worker.health == Health::kHealthy;
      Reply(asker,
            wire::Pong{LORRY_VERSION, parts_.home, started_, workers, static_cast<uint32_t>(core_->state().attempts.size())});
      return true;
    }
    case wire::Type::kHasBlobs:
    case wire::Type::kPutBlob:
    case wire::Type::kGetBlob:
      break;
    default:
      return false;
  }
  desks_->Post([this, asker, request, type = message.header.type, header = message.header, body = std::string(message.body)] {
    const wire::Message copy{header, body};
    if (type == wire::Type::kHasBlobs) {
      auto question = wire::DecodeBody<wire::HasBlobs>(copy);
      PostAnswer(asker, question.ok() ? Encoded(request, Result<wire::BlobsPresent>(blobs_.Answer(*question)))
                                      : Encoded<wire::BlobsPresent>(request, question.error()));
    } else if (type == wire::Type::kPutBlob) {
      auto piece = wire::DecodeBody<wire::PutBlob>(copy);
      PostAnswer(asker, Encoded(request, piece.ok() ? blobs_.Put(*piece) : Result<wire::BlobStored>(piece.error())));
    } else {
      auto question = wire::DecodeBody<wire::GetBlob>(copy);
      PostAnswer(asker, Encoded(request, question.ok() ? blobs_.Get(*question) : Result<wire::BlobPiece>(question.error())));
    }
  });
  return true;
}

void Reactor::OnSubmit(const Asker& asker, const wire::Submit& submit) {
  Database* db = OpenTransaction();
  if (db == nullptr) return ReplyError(asker, *failed_);
  auto admitted = Admit(submit, core_->state(), *db, parts_.registry, blobs_, parts_.admission);
  if (!admitted.ok()) return ReplyError(asker, admitted.error());
  if (!admitted->existing.empty()) return Reply(asker, wire::Submitted{admitted->existing, true, ""});
  std::string quote;
  if (parts_.books != nullptr) {
    const std::set<std::string> kinds = GrantableKinds(core_->state(), admitted->spec.needs);
    auto quoted = transaction_->Try([&] { return parts_.books->Quote(*db, admitted->spec, kinds, true, Now()); });
    if (!quoted.ok()) return ReplyError(asker, quoted.error());
    quote = std::move(*quoted);
  }
  const RunId run = admitted->spec.id;
  Apply(core_->OnSubmit(std::move(admitted->spec), Now()));
  accepted_.push_back(run);
  Reply(asker, wire::Submitted{run, false, quote});
}

void Reactor::OnPlan(const Asker& asker, const wire::Plan& plan) {
  Database* db = OpenTransaction();
  if (db == nullptr) return ReplyError(asker, *failed_);
  auto spec = AdmitPlan(plan, core_->state(), *db, parts_.registry, parts_.admission);
  if (!spec.ok()) return ReplyError(asker, spec.error());
  Result<std::string> quote = std::string("{}");
  if (parts_.books != nullptr) {
    quote = parts_.books->Quote(*db, *spec, GrantableKinds(core_->state(), spec->needs), false, Now());
  }
  if (!quote.ok()) return ReplyError(asker, quote.error());
  auto answer = ParseJson(*quote);
  if (!answer.ok()) return ReplyError(asker, answer.error());
  Run run;  // as it would stand at the end of the queue
  run.spec = std::move(*spec);
  run.order = core_->state().last_order + 1;
  (*answer)["waits_for"] = WhyWaiting(core_->state(), run, Now());
  Reply(asker, wire::JsonReply{ShownJson(*answer)});
}

void Reactor::OnRunWish(const Asker& asker, const RunId& id, const std::function<Actions()>& wish) {
  if (core_->state().FindRun(id) == nullptr) return ReplyError(asker, NoSuchRun(id));
  Apply(wish());
  Reply(asker, wire::RunStands{Summarize(core_->state(), *core_->state().FindRun(id), Now())});
}

void Reactor::OnQuery(const Asker& asker, const wire::Query& query) {
  if (query.name == "scheduler.drain" || query.name == "worker.drain") return OnDrainQuery(asker, query);
  if (auto state = parts_.queries.state.find(query.name); state != parts_.queries.state.end()) {
    Database* db = OpenTransaction();
    if (db == nullptr) return ReplyError(asker, *failed_);
    return ReplyResult(asker, AsReply(Asked(query.name, [&] { return state->second(core_->state(), *db, query.json); })));
  }
  if (auto write = parts_.queries.write.find(query.name); write != parts_.queries.write.end()) {
    return ReplyResult(asker, AsReply(AnswerWrite(write->second, query)));
  }
  auto read = parts_.queries.read.find(query.name);
  if (read == parts_.queries.read.end()) {
    return ReplyError(asker, MakeError(ErrorCode::kUnsupported, fmt::format("this scheduler knows no query \"{}\"", query.name)));
  }
  desks_->Post([this, asker, handler = &read->second, query] {
    auto reader = parts_.store->Read();
    Result<std::string> answer = reader.ok() ? Asked(query.name, [&] { return (*handler)(reader->db(), query.json); })
                                             : Result<std::string>(reader.error());
    PostAnswer(asker, Encoded(asker.request, AsReply(std::move(answer))));
  });
}

// A repeat of a key gets the stored answer, for as long as answers are kept; what a failed query wrote is taken back.
Result<std::string> Reactor::AnswerWrite(const WriteQuery& handler, const wire::Query& query) {
  Database* db = OpenTransaction();
  if (db == nullptr) return *failed_;
  const Digest digest = Sha256Of(query.name + "\n" + query.json);
  if (!query.key.empty()) {
    LORRY_ASSIGN_OR_RETURN(Rows rows, db->Ask("SELECT digest, json FROM answered WHERE key=?", query.key));
    LORRY_ASSIGN_OR_RETURN(bool known, rows.Next());
    if (known && rows.AsDigest(0) == digest) return rows.Text(1);
    if (known) return MakeError(ErrorCode::kConflict, fmt::format("the key {} was used for another question", query.key));
  }
  LORRY_ASSIGN_OR_RETURN(std::string json,
                         transaction_->Try([&] { return Asked(query.name, [&] { return handler(*db, query.json, Now()); }); }));
  if (!query.key.empty()) {
    LORRY_TRY(db->Run("DELETE FROM answered WHERE at_ms < ?", Now().utc - kAnswersKept));
    LORRY_TRY(db->Run("INSERT INTO answered VALUES(?,?,?,?)", query.key, digest, Now().utc, json));
  }
  return json;
}

// {"drain": bool}, and for worker.drain {"worker": ID} too; answers how many attempts still run there.
void Reactor::OnDrainQuery(const Asker& asker, const wire::Query& query) {
  auto json = ParseJson(query.json);
  if (!json.ok() || !json->is_object()) return ReplyError(asker, MakeError(ErrorCode::kUsage, query.name + " needs an object"));
  const auto drain_at = json->find("drain");
  const auto worker_at = json->find("worker");
  if ((drain_at != json->end() && !drain_at->is_boolean()) || (worker_at != json->end() && !worker_at->is_string())) {
    return ReplyError(asker, MakeError(ErrorCode::kUsage, query.name + R"( needs {"drain": true or false, "worker": "ID"})"));
  }
  const bool drain = json->value("drain", true);
  size_t running = core_->state().attempts.size();
  if (query.name == "scheduler.drain") {
    Apply(core_->OnDrain(drain, Now()));
  } else {
    const WorkerId worker(json->value("worker", std::string()));
    if (!core_->state().workers.contains(worker)) {
      return ReplyError(asker, MakeError(ErrorCode::kNotFound, fmt::format("no worker \"{}\"", worker)));
    }
    Apply(core_->OnDrainWorker(worker, drain, Now()));
    running = std::count_if(core_->state().attempts.begin(), core_->state().attempts.end(),
                            [&](const auto& entry) { return entry.second.worker == worker; });
  }
  Reply(asker, wire::JsonReply{fmt::format(R"({{"draining":{},"running":{}}})", drain, running)});
}

void Reactor::AnswerLongPolls() {
  const int64_t now = parts_.clock->MonotonicMillis();
  const bool news = watched_up_to_ != log_.last();
  watched_up_to_ = log_.last();
  std::erase_if(watching_, [&](const Watching& watching) {
    return (news || now >= watching.deadline) && TryAnswer(watching, now >= watching.deadline);
  });
  std::erase_if(reading_, [&](const Reading& reading) { return TryAnswer(reading, now >= reading.deadline); });
}

bool Reactor::TryAnswer(const Watching& watching, bool out_of_time) {
  const wire::WatchRun& question = watching.question;
  auto reader = parts_.store->Read();
  if (!reader.ok()) return ReplyError(watching.asker, reader.error()), true;
  auto events = EventsAfter(reader->db(), question.run, question.after, std::min(question.limit, 10000u));
  if (!events.ok()) return ReplyError(watching.asker, events.error()), true;
  wire::RunEvents answer{std::move(*events), question.after, {}, false};
  if (const Run* run = core_->state().FindRun(question.run)) {
    answer.summary = Summarize(core_->state(), *run, Now());
    answer.ended = HasEnded(run->state) && answer.events.size() < question.limit;
  }
  if (answer.events.empty() && !answer.ended && !out_of_time) return false;
  if (!answer.events.empty()) answer.next = answer.events.back().sequence;
  answer.summary.usd = SpentSoFar(reader->db(), question.run);
  Reply(watching.asker, answer);
  return true;
}

std::string Reactor::SpentSoFar(Database& db, const RunId& id) const {
  const Run* run = core_->state().FindRun(id);
  if (run == nullptr || parts_.books == nullptr) return "";
  const auto live = core_->state().attempts.find(id);
  const auto spent =
      parts_.books->Spent(db, *run, live == core_->state().attempts.end() ? std::vector<wire::Span>() : live->second.spans);
  return spent.ok() ? ToDecimalString(*spent) : "";
}

bool Reactor::TryAnswer(const Reading& reading, bool out_of_time) {
  const wire::ReadLog& question = reading.question;
  const Run* run = core_->state().FindRun(question.run);
  if (run == nullptr) return ReplyError(reading.asker, NoSuchRun(question.run)), true;
  const AttemptNumber latest(run->attempts);
  wire::LogPiece piece;
  piece.attempt = question.attempt.value() == 0 ? latest : question.attempt;
  piece.offset = question.offset;
  piece.bytes = logs_.Read(question.run, piece.attempt, question.rank, question.offset, question.max_bytes);
  piece.run_ended = HasEnded(run->state);
  if (latest > piece.attempt) piece.next_attempt = piece.attempt.Next();
  const bool live = piece.attempt == latest && core_->state().attempts.contains(question.run);
  piece.attempt_ended = piece.bytes.empty() && !live && piece.attempt.value() > 0;
  if (piece.bytes.empty() && !piece.attempt_ended && !piece.run_ended && !out_of_time) return false;
  Reply(reading.asker, piece);
  return true;
}

}  // namespace lorry
