#include "scheduler/reactor.h"

#include <cstdio>
#include <fstream>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/text.h"
#include "scheduler/job_lock.h"

namespace lorry {
namespace {

enum : uint64_t { kClients, kWorkers, kWake };
constexpr size_t kMostMessages = 256;
constexpr int64_t kLongestTurnMillis = 2;
constexpr int64_t kTickMillis = 100;
constexpr int64_t kBudgetCheckMillis = 2000;

}  // namespace

Reactor::Reactor(ReactorParts parts) : parts_(std::move(parts)), blobs_(parts_.home), logs_(parts_.home) {
  if (parts_.clients != nullptr) poller_.Watch(*parts_.clients, kClients);
  if (parts_.workers != nullptr) poller_.Watch(*parts_.workers, kWorkers);
  poller_.Watch(wake_.fd(), kWake);
  started_ = Now();
  desks_ = std::make_unique<DeskThreads>(2);
}

Reactor::~Reactor() { desks_.reset(); }

Status Reactor::Load() {
  LORRY_ASSIGN_OR_RETURN(Reader reader, parts_.store->Read());
  LORRY_ASSIGN_OR_RETURN(State state, LoadState(reader.db(), Now()));
  LORRY_ASSIGN_OR_RETURN(log_, EventLog::Open(reader.db()));
  const std::vector<std::string> broken = SanityCheck(state);
  if (!broken.empty()) {
    return MakeError(ErrorCode::kData, fmt::format("{}: {}", parts_.store->path(), broken.front()),
                     "bring back a backup with `lorry restore FROM`");
  }
  for (const auto& [id, run] : state.runs) {
    if (!HasEnded(run.state)) WriteJobLock(run.spec);
  }
  watched_up_to_ = log_.last();
  state.draining = core_ != nullptr && core_->state().draining;  // asked of this process, not of the home
  core_ = std::make_unique<Core>(parts_.core, std::move(state));
  return OkStatus();
}

// Made of what the state file holds, so it is not made durable here: what a power cut takes is written again at the next start.
void Reactor::WriteJobLock(const RunSpec& spec) {
  const std::string folder = fmt::format("{}/runs/{}", parts_.home, spec.id);
  const std::string path = folder + "/job.lock.yaml";
  const std::string text = JobLockText(spec);
  const auto size = FileSize(path);
  if (size.ok() && size->count() == static_cast<int64_t>(text.size())) return;
  if (!MakeDirectories(folder).ok()) return;
  std::ofstream(path + ".new") << text;
  std::rename((path + ".new").c_str(), path.c_str());
}

// Wait for anything; take what came and decide; store it; speak.
Status Reactor::Serve() {
  while (true) {
    Wait();
    {
      std::lock_guard lock(mutex_);
      if (stopping_) break;
    }
    TakeMessages();
    Tick();
    Status stored = failed_.has_value() ? Status(*failed_) : Commit();
    if (!stored.ok()) {
      Reload(stored.error());
      if (core_ == nullptr) {
        LeaveNobodyWaiting();
        return stored;
      }
      Speak();
      continue;
    }
    Speak();
    AnswerLongPolls();
    Speak();
  }
  LeaveNobodyWaiting();
  return OkStatus();
}

// Threads of this process that wait for an answer learn it from their broken promise.
void Reactor::LeaveNobodyWaiting() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  inbox_.clear();
  outbox_.clear();
  answers_.clear();
  watching_.clear();
  reading_.clear();
}

void Reactor::Wait() {
  const int64_t left = next_tick_ - parts_.clock->MonotonicMillis();
  poller_.Wait(Millis(std::clamp<int64_t>(left, 0, kTickMillis)));
}

template <class Handle>
void Reactor::Guarded(const Asker& asker, Handle&& handle) {
  if (failed_.has_value()) return ReplyError(asker, *failed_);
  try {
    handle();
  } catch (const nlohmann::json::exception& e) {
    failed_ = MakeError(ErrorCode::kInternal, EscapeControl(e.what()));
    ReplyError(asker, *failed_);
  }
}

size_t Reactor::TakeMessages() {
  wake_.Clear();
  std::deque<Local> local;
  {
    std::lock_guard lock(mutex_);
    local.swap(inbox_);
  }
  for (Local& entry : local) {
    Asker asker{nullptr, {}, 0, entry.thread};
    auto message = wire::ParseMessage(entry.bytes);
    if (!message.ok()) {
      ReplyError(asker, message.error());
    } else {
      Guarded(asker, [&] { OnClientMessage(asker, *message); });
    }
  }
  const int64_t until = parts_.clock->MonotonicMillis() + kLongestTurnMillis;
  size_t taken = 0;
  bool some = true;
  while (some && taken < kMostMessages && !failed_.has_value() && parts_.clock->MonotonicMillis() <= until) {
    some = false;
    for (RouterPort* port : {parts_.clients, parts_.workers}) {
      std::optional<Received> received = port == nullptr ? std::nullopt : port->Receive();
      if (!received.has_value()) continue;
      some = true;
      ++taken;
      Asker asker{port, received->peer, 0, nullptr};
      auto message = wire::ParseMessage(received->bytes);
      if (!message.ok()) {
        ReplyError(asker, message.error());
        continue;
      }
      asker.request = message->header.request;
      Guarded(asker, [&] {
        if (port == parts_.clients) {
          OnClientMessage(asker, *message);
        } else {
          OnWorkerMessage(asker, received->user, *message);
        }
      });
    }
  }
  return taken;
}

Database* Reactor::OpenTransaction() {
  if (!transaction_.has_value()) {
    auto begun = parts_.store->Begin();
    if (!begun.ok()) {
      failed_ = begun.error();
      return nullptr;
    }
    transaction_.emplace(std::move(*begun));
  }
  if (Status open = transaction_->StillOpen(); !open.ok()) {
    failed_ = open.error();
    return nullptr;
  }
  return &transaction_->db();
}

// What the core decided, into this turn's transaction; what it wants said is kept until that is on the disk.
void Reactor::Apply(Actions actions) {
  for (Send& send : actions.sends) sends_.push_back(std::move(send));
  if (failed_.has_value() || !actions.ChangesState()) return;
  Status stored = StoreActions(actions);
  if (!stored.ok()) failed_ = stored.error();
}

Status Reactor::StoreActions(const Actions& actions) {
  Database* db = OpenTransaction();
  if (db == nullptr) return *failed_;
  const Moment now = Now();
  LORRY_TRY(log_.Append(*db, actions, core_->state(), now));
  for (const PostingWish& wish : actions.postings) {
    if (parts_.books == nullptr) continue;
    Status posted = transaction_->Try([&] { return parts_.books->Post(*db, core_->state().runs.at(wish.run), wish, now); });
    if (posted.ok()) continue;
    if (posted.error().code == ErrorCode::kStorage) return posted;
    // The spans stay in usage_span: `lorry ledger verify` shows what is missing. The run's end is not held up by it.
    spdlog::critical("{} attempt {}: device time could not be posted: {}", wish.run, wish.attempt, posted.error().Format());
  }
  for (const PublishWish& wish : actions.publish) {
    Result<std::string> published = std::string("{}");
    if (parts_.registry != nullptr) {
      published = transaction_->Try([&] {
        return Asked("publication", [&] { return parts_.registry->Publish(*db, core_->state().runs.at(wish.run), wish, now); });
      });
    }
    if (!published.ok() && published.error().code == ErrorCode::kStorage) return published.error();
    Actions ended = core_->OnPublished(wish.run, published, now);
    for (Send& send : ended.sends) sends_.push_back(std::move(send));
    LORRY_TRY(log_.Append(*db, ended, core_->state(), now));
  }
  return OkStatus();
}

Status Reactor::Commit() {
  if (!transaction_.has_value()) return OkStatus();
  Status committed = transaction_->Commit();
  transaction_.reset();
  if (!committed.ok()) return committed;
  unstored_.clear();
  for (const RunId& run : accepted_) WriteJobLock(core_->state().runs.at(run).spec);
  accepted_.clear();
  return OkStatus();
}

void Reactor::Speak() {
  for (const Send& send : sends_) SendToWorker(send);
  sends_.clear();
  std::vector<Answer> answers;
  answers.swap(answers_);
  {
    std::lock_guard lock(mutex_);
    for (Answer& answer : outbox_) answers.push_back(std::move(answer));
    outbox_.clear();
  }
  for (Answer& answer : answers) {
    if (answer.to.thread) {
      answer.to.thread->set_value(std::move(answer.bytes));
    } else {
      (void)answer.to.port->Send(answer.to.peer, answer.bytes);  // gone: it asks again
    }
  }
}

// Nothing of this turn happened: forget it all, and begin again from the file.
void Reactor::Reload(const Error& why) {
  if (unstored_ != why.Format()) spdlog::error("state could not be stored, starting again from the file: {}", why.Format());
  unstored_ = why.Format();
  transaction_.reset();
  failed_.reset();
  sends_.clear();
  accepted_.clear();
  // People are told why; workers ask again until what they say is stored.
  std::vector<Answer> answers;
  answers.swap(answers_);
  for (Answer& answer : answers) {
    if (answer.to.thread) {
      answer.to.thread->set_value(why);
    } else if (answer.to.port == parts_.clients) {
      ReplyError(answer.to, why);
    }
  }
  sessions_.clear();
  session_of_.clear();
  Status loaded = Load();
  if (!loaded.ok()) {
    spdlog::critical("{}", loaded.error().Format());
    core_.reset();
  }
}

void Reactor::Tick() {
  const int64_t now = parts_.clock->MonotonicMillis();
  if (now < next_tick_) return;
  next_tick_ = now + kTickMillis;
  Apply(core_->OnTick(Now()));
  if (parts_.books != nullptr && now >= next_budget_check_) {
    next_budget_check_ = now + kBudgetCheckMillis;
    CheckBudgets();
  }
#ifndef NDEBUG
  for (const std::string& broken : SanityCheck(core_->state())) spdlog::critical("sanity: {}", broken);
#endif
}

void Reactor::CheckBudgets() {
  auto reader = parts_.store->Read();
  if (!reader.ok()) return;
  std::vector<std::pair<RunId, Error>> spent;
  for (const auto& [id, attempt] : core_->state().attempts) {
    auto reached = parts_.books->LimitReached(reader->db(), core_->state().runs.at(id), attempt.spans);
    if (reached.ok() && reached->has_value()) spent.emplace_back(id, std::move(**reached));
  }
  for (const auto& [id, why] : spent) Apply(core_->OnBudgetSpent(id, why, Now()));
}

void Reactor::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.Wake();
}

Result<std::string> Reactor::Exchange(const std::string& message) {
  auto thread = std::make_shared<std::promise<Result<std::string>>>();
  std::future<Result<std::string>> answer = thread->get_future();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return MakeError(ErrorCode::kUnreachable, "the scheduler is going down");
    inbox_.push_back(Local{message, thread});
  }
  thread.reset();
  wake_.Wake();
  try {
    return answer.get();
  } catch (const std::future_error&) {
    return MakeError(ErrorCode::kUnreachable, "the scheduler is going down");
  }
}

void Reactor::PostAnswer(const Asker& asker, std::string bytes) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    outbox_.push_back(Answer{asker, std::move(bytes)});
  }
  wake_.Wake();
}

}  // namespace lorry
