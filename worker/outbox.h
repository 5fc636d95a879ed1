// What the worker says to the scheduler. A message that must not be lost is kept, and said again with the same request number in
// every new session and after a while without an answer; the scheduler takes a repeat for what it is. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "base/transport/dealer_link.h"
#include "base/wire.h"

namespace lorry {

class Outbox {
 public:
  explicit Outbox(DealerLink* link) : link_(link) {}

  // From Welcome on messages go out; all that is kept goes out again.
  void BeginSession(uint64_t session);
  // Nothing goes out until the next session.
  void EndSession() { session_ = 0; }
  bool in_session() const { return session_ != 0; }
  uint64_t session() const { return session_; }  // 0: none
  // How many there have been: what was asked in an earlier one has no answer any more.
  uint64_t sessions() const { return sessions_; }

  // Said once; lost where there is no session or no connection. Returns the request number.
  template <class Body>
  uint64_t Post(const Body& body, Epoch epoch) {
    const uint64_t request = ++last_request_;
    Say(
        request, [&](const wire::Header& header) { return wire::EncodeMessage(header, body); }, epoch);
    return request;
  }
  // Said until Answered(request).
  template <class Body>
  uint64_t Keep(Body body, Epoch epoch) {
    const uint64_t request = ++last_request_;
    kept_[request] = {[body = std::move(body)](const wire::Header& header) { return wire::EncodeMessage(header, body); }, epoch,
                      kNever};
    return request;
  }
  void Answered(uint64_t request) { kept_.erase(request); }
  // The attempt with this epoch is given up: nothing that was kept for it is said again.
  void Forget(Epoch epoch) {
    std::erase_if(kept_, [epoch](const auto& entry) { return entry.second.epoch == epoch; });
  }

  // Says what is due: kept messages that were not said in this session, or have had no answer for ten seconds.
  void Flush(int64_t monotonic_ms);
  // Hello: outside of any session.
  Status SayHello(const wire::Hello& hello);

 private:
  using Encode = std::function<std::string(const wire::Header&)>;
  static constexpr int64_t kNever = -1;
  struct Kept {
    Encode encode;
    Epoch epoch;
    int64_t said_at = kNever;
  };
  bool Say(uint64_t request, const Encode& encode, Epoch epoch);

  DealerLink* link_;
  uint64_t session_ = 0;
  uint64_t sessions_ = 0;
  uint64_t sequence_ = 0;
  uint64_t last_request_ = 0;
  std::map<uint64_t, Kept> kept_;  // by request: said in the order in which they were kept
};

// A question for a lease. One is open at a time; one without an answer is given up and asked anew under another number, since
// what the worker holds has changed meanwhile (base/wire_worker.h, RowsWanted).
class LeaseQuestion {
 public:
  explicit LeaseQuestion(Outbox* outbox) : outbox_(outbox) {}
  bool open() const { return request_ != 0; }
  template <class Body>
  void Ask(const Body& body, Epoch epoch, int64_t monotonic_ms) {
    request_ = outbox_->Post(body, epoch);
    session_ = outbox_->sessions();
    asked_at_ = monotonic_ms;
  }
  // True, and no longer open, where this is the answer.
  bool IsAnswered(uint64_t request) {
    if (!open() || request != request_) return false;
    request_ = 0;
    return true;
  }
  // True, and no longer open, where the answer will not come.
  bool IsLost(int64_t monotonic_ms) {
    const bool lost = open() && (session_ != outbox_->sessions() || monotonic_ms - asked_at_ > kPatienceMillis);
    if (lost) request_ = 0;
    return lost;
  }

 private:
  static constexpr int64_t kPatienceMillis = 10'000;
  Outbox* outbox_;
  uint64_t request_ = 0;
  uint64_t session_ = 0;
  int64_t asked_at_ = 0;
};

}  // namespace lorry
