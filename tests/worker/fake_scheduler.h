// A scheduler as far as one worker can see: a real port under CURVE, leases of rows and elements, a blob store in its home. It
// answers while it is asked to wait for something, forgets on request, and remembers everything it was told.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/process.h"
#include "base/transport/router_port.h"
#include "base/transport/zap_handler.h"
#include "base/wire.h"

namespace lorry::test {

struct AttemptSeen {
  std::vector<wire::Span> spans;
  std::vector<wire::CheckpointRef> checkpoints;
  std::vector<wire::Finished> finished;  // a repeat stands here too
  std::string metrics;                   // lines for the run's metrics.jsonl
  std::string log;                       // of rank 0, from a worker with a home of its own
  bool worker_left = false;              // it had said that it goes down before the attempt's end came
};

class FakeScheduler {
 public:
  // `shared`: the worker gets this scheduler's home, else one of its own.
  explicit FakeScheduler(bool shared = true);
  ~FakeScheduler();

  // The worker program, with fake ranks; ended by the destructor.
  void StartWorker(const std::string& devices = "cpu:2");
  void KillWorker();       // SIGKILL, and waits
  ProcessEnd EndWorker();  // SIGTERM, and waits while answering

  // Answers until `done`, at most 60 seconds; false where it did not come.
  bool WaitUntil(const std::function<bool()>& done);
  bool WaitForHello(size_t count);
  const wire::Finished* WaitForEnd(const std::string& run, uint64_t attempt = 1);

  // A grant of the worker's first `devices` devices.
  struct Job {
    std::string run = "r-1";
    uint64_t attempt = 1;
    std::string kind = "finetune";
    std::string script;  // the label `fake`
    std::string resources = R"({"cpus":2})";
    size_t devices = 2;
    std::vector<std::string> argv;
    uint64_t array = 0;
    std::vector<wire::Input> inputs;
  };
  void Grant(const Job& job) { Grant(job, hellos_.back().devices); }
  void Grant(const Job& job, const std::vector<wire::Device>& devices);
  void Stop(const Job& job, wire::StopMode mode, EndReason reason, uint32_t grace_ms);

  // Forgets all sessions, as after a restart.
  void Restart() { knows_session_ = false; }
  // As after so many messages of the session before this one.
  void SayWhoAreYou(int times);
  // That many of the next answers are lost on their way.
  int lose_finished_acks = 0;
  int lose_row_commits = 0;

  // A file or directory as an input, its blobs in the store.
  wire::Input MakeInput(const std::string& name, const std::map<std::string, std::string>& files);
  std::string ReadOutput(const wire::Finished& finished, const std::string& name, const std::string& path);

  AttemptSeen& seen(const std::string& run, uint64_t attempt = 1) { return seen_[{run, attempt}]; }
  const std::vector<wire::Hello>& hellos() const { return hellos_; }
  const std::string& home() const { return home_.path(); }
  const std::string& worker_home() const { return shared_ ? home_.path() : own_home_.path(); }
  const std::string& endpoint() const { return port_->endpoint(); }

  uint64_t rows_of_run = 0;
  std::map<uint64_t, wire::RowReport> rows;  // as committed
  uint64_t elements_of_run = 0;
  std::map<uint64_t, int> element_starts;
  std::map<uint64_t, std::vector<int32_t>> element_ends;

 private:
  void Turn();
  void Take(const Received& received, const wire::Message& message);
  void TakeAboutAttempts(const Received& received, const wire::Message& message);
  void TakeReports(const Received& received, const wire::Message& message);
  void TakeBlobs(const Received& received, const wire::Message& message);
  void TakeMetered(const wire::Metered& metered);
  void LeaseRows(const Received& received, const wire::Message& message);
  void LeaseElements(const Received& received, const wire::Message& message);
  template <class Body>
  void Answer(const Received& received, const wire::Message& message, const Body& body);
  AttemptSeen& SeenOf(const wire::AttemptRef& ref) { return seen(ref.run.str(), ref.attempt.value()); }

  bool shared_;
  TempDirectory home_;
  TempDirectory own_home_;
  std::shared_ptr<TransportContext> context_;
  std::unique_ptr<ZapHandler> zap_;
  std::unique_ptr<RouterPort> port_;
  std::optional<ChildProcess> worker_;
  PeerAddress peer_;
  uint64_t session_ = 0;
  bool knows_session_ = false;
  bool leaving_ = false;
  std::vector<wire::Hello> hellos_;
  std::map<std::pair<std::string, uint64_t>, AttemptSeen> seen_;
  std::map<std::string, std::string> uploads_;
};

// Spans of every device: whether they follow each other without a gap, and how long they are by class.
struct Metering {
  bool unbroken = true;
  std::map<UsageClass, int64_t> class_ms;
  std::map<std::string, int64_t> device_ms;
};
Metering Sum(const std::vector<wire::Span>& spans);

// Processes whose command line holds `text`.
std::vector<pid_t> ProcessesWith(const std::string& text);
// The path of a program that only tests have.
std::string TestProgram(const std::string& name);

}  // namespace lorry::test
