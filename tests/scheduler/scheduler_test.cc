// The scheduler over real sockets: keys, submissions that are known again, a scheduler that is gone and back, a worker that
// speaks the wire by hand.
#include "scheduler/scheduler.h"

#include <fmt/format.h>
#include <unistd.h>
#include <atomic>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "base/transport/keys.h"
#include "base/transport/scheduler_client.h"
#include "scheduler/job_lock.h"
#include "tests/scheduler/hand_worker.h"

namespace lorry {
namespace {

constexpr const char* kNoOp =
    R"({"kind":"command","name":"no-op","project":"docs","argv":[":"],"array":3,"resources":{"cpus":1}})";

SchedulerOptions OptionsFor(const std::string& home, int client_port = 0, int worker_port = 0) {
  SchedulerOptions options;
  options.home = home;
  options.client_port = client_port;
  options.worker_port = worker_port;
  return options;
}

std::unique_ptr<Scheduler> StartIn(const std::string& home, int client_port = 0, int worker_port = 0) {
  auto started = Scheduler::Start(OptionsFor(home, client_port, worker_port));
  if (!started.ok()) FAIL(started.error().Format());
  return std::move(*started);
}

int PortOf(const std::string& endpoint) { return std::stoi(endpoint.substr(endpoint.rfind(':') + 1)); }

SchedulerClient ClientOf(Scheduler& scheduler) {
  return std::move(*SchedulerClient::Connect(*SchedulerClientOptions::ForHome(scheduler.home(), scheduler.client_endpoint())));
}

TEST_CASE("the same submission is the same run; another job under its id is refused") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  auto first = client.Submit({SubmissionId("s-1"), kNoOp, {}});
  REQUIRE(first.ok());
  CHECK_FALSE(first->existing);
  auto again = client.Submit({SubmissionId("s-1"), kNoOp, {}});
  REQUIRE(again.ok());
  CHECK(again->existing);
  CHECK(again->run == first->run);
  auto other = client.Submit({SubmissionId("s-1"),
                              R"({"kind":"command","name":"x","project":"docs","argv":[":"],"array":4,"resources":{"cpus":1}})",
                              {}});
  REQUIRE_FALSE(other.ok());
  CHECK(ExitStatusOf(other.error().code) == 2);
  CHECK(client.List({})->size() == 1);
  CHECK(*ReadFile(home.path() + "/runs/" + first->run.str() + "/job.lock.yaml") ==
        "after: []\nargv:\n  - \":\"\narray: 3\nkind: command\nlabels: {}\nlimits:\n  on_exceed: checkpoint_and_stop\nname: "
        "no-op\npriority: 50\n"
        "project: docs\nresources:\n  cpus: 1\n  nodes: 1\n  threads_per_lane: 1\nretry:\n  max_attempts: 3\n  "
        "other_device: false\n");
}

TEST_CASE("the log of a rank that a run does not have is not found") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  const auto submit = [&](const char* id, const std::string& job, std::vector<wire::Input> inputs) {
    auto made = client.Submit({SubmissionId(id), job, std::move(inputs)});
    if (!made.ok()) FAIL(made.error().Format());
    return made->run;
  };
  const RunId command = submit("s-1", kNoOp, {});
  const RunId batch = submit("s-2",
                             R"({"kind":"batch","name":"b","project":"docs","model":"/m","input":"/i","output":"/o",
                                 "resources":{"cpus":4,"ranks":2}})",
                             {{"base_model", true, {}}, {"input", false, {}}});
  const auto says = [&](const RunId& run, uint32_t rank) {
    wire::ReadLog question;
    question.run = run;
    question.rank = rank;
    const auto piece = client.ReadLog(question);
    if (!piece.ok()) CHECK(ExitStatusOf(piece.error().code) == 5);
    return piece.ok() ? "" : piece.error().Format();
  };
  CHECK(says(command, 0).empty());
  CHECK(says(command, 1) == fmt::format("run {} has no rank 1; its only rank is 0", command));
  CHECK(says(batch, 1).empty());
  CHECK(says(batch, 5) == fmt::format("run {} has no rank 5; its ranks are 0..1", batch));
}

TEST_CASE("the lock of a job names versions, run ids and digests in place of what was asked for") {
  RunSpec spec;
  spec.kind = "batch";
  spec.job_json = R"({"adapter":"acme/a@staging","after":["first"],"input":"/data/rows.jsonl","model":"m","name":"b"})";
  spec.model = "library/m@v2";
  spec.adapter = "acme/a@v7";
  spec.after = {RunId("r-1")};
  const wire::BlobFile file{"rows.jsonl", Sha256Of("rows"), 4};
  spec.inputs = {{"input", false, {file}}, {"base_model", true, {file}}};
  CHECK(JobLockText(spec) ==
        "adapter: acme/a@v7\nafter:\n  - r-1\ninput: /data/rows.jsonl\ninputs:\n"
        "  base_model: \"053c8fcdbf9d93e6b67e188c6e5960b9aa444aeed11c6848942c1ba3d070f7fb\"\n"  // of the list of its one file
        "  input: bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99e\n"           // of that file
        "model: library/m@v2\nname: b\n");
}

TEST_CASE("a repeated question gets the answer that it got, for a week") {
  struct SetClock : Clock {
    Instant Now() const override { return Instant(now_ms.load()); }
    int64_t MonotonicMillis() const override { return SystemClock().MonotonicMillis(); }
    std::atomic<int64_t> now_ms{1'800'000'000'000};
  } clock;
  TempDirectory home;
  SchedulerOptions options = OptionsFor(home.path());
  options.clock = &clock;
  int asked = 0;
  options.queries.write["count"] = [&](Database&, const std::string&, Instant) { return std::to_string(++asked); };
  auto scheduler = std::move(*Scheduler::Start(std::move(options)));
  SchedulerClient client = ClientOf(*scheduler);
  CHECK(*client.Query("count", "{}", "k-1") == "1");
  clock.now_ms += 6 * 24 * 3600 * 1000;
  CHECK(*client.Query("count", "{}", "k-1") == "1");
  clock.now_ms += 2 * 24 * 3600 * 1000;
  CHECK(*client.Query("count", "{}", "k-2") == "2");
  CHECK(*client.Query("count", "{}", "k-1") == "3");
}

TEST_CASE("plan says what the job would wait for, and an unknown GPU is refused or waited for as the home's policy has it") {
  const auto job = [](const char* resources) {
    return fmt::format(R"({{"kind":"command","name":"x","project":"docs","argv":[":"],"array":3,"resources":{}}})", resources);
  };
  for (const bool wait : {false, true}) {
    CAPTURE(wait);
    TempDirectory home;
    SchedulerOptions options = OptionsFor(home.path());
    options.admission.wait_for_unknown_gpu = wait;
    auto scheduler = std::move(*Scheduler::Start(std::move(options)));
    SchedulerClient client = ClientOf(*scheduler);
    const auto plan = [&](const char* resources) {
      wire::Plan question;
      question.job_json = job(resources);
      return client.Plan(question);
    };
    CHECK(nlohmann::json::parse(*plan(R"({"cpus":1})"))["waits_for"] == nlohmann::json{"no worker is connected"});
    HandWorker worker(home.path(), scheduler->worker_endpoint());
    worker.Hello(2);
    CHECK(nlohmann::json::parse(*plan(R"({"cpus":1})"))["waits_for"].empty());
    const auto gpu = plan(R"({"gpus":"H100:1"})");
    CHECK(gpu.ok() == wait);
    if (!wait) CHECK(gpu.error().message.find("no such GPU here") != std::string::npos);
    if (wait) {
      CHECK(nlohmann::json::parse(*gpu)["waits_for"] ==
            nlohmann::json{"no_capacity: it needs 1 H100 on one worker; the largest has 0"});
    }
  }
}

TEST_CASE("a whole array, element by element, and its events") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  HandWorker worker(home.path(), scheduler->worker_endpoint());
  worker.Hello(2);
  const RunId run = client.Submit({SubmissionId("s-1"), kNoOp, {}})->run;
  const auto grant = worker.Expect<wire::Grant>();
  CHECK(grant.attempt.run == run);
  CHECK(grant.devices.size() == 2);
  CHECK(grant.array == 3);
  const auto lease = worker.Ask<wire::ElementLease>(wire::ElementsWanted{grant.attempt, 10, {}});
  REQUIRE(lease.ranges == std::vector<wire::Range>{{0, 3}});
  wire::ElementReports reports{grant.attempt, {}, {}};
  for (uint64_t i = 0; i < 3; ++i) {
    reports.started.push_back({i, Instant(10)});
    reports.ended.push_back({i, Instant(20), 0});
  }
  CHECK(worker.Ask<wire::ElementsCommitted>(reports).done == 3);
  CHECK(worker.Ask<wire::ElementLease>(wire::ElementsWanted{grant.attempt, 10, {}}).no_more);
  wire::Finished finished{grant.attempt,
                          EndReason::kDone,
                          {},
                          {},
                          0,
                          {{grant.devices[0], "cpu", UsageClass::kProductive, Instant(10), Instant(20)}},
                          ""};
  CHECK(worker.Ask<wire::FinishedAck>(finished).accepted);
  CHECK_FALSE(worker.Ask<wire::FinishedAck>(finished).accepted);

  auto watched = client.Watch({run, Sequence(0), 3000, 100});
  REQUIRE(watched.ok());
  CHECK(watched->ended);
  CHECK(watched->summary.state == "succeeded");
  CHECK(watched->events.front().kind == "submitted");
  CHECK(watched->events.back().kind == "ended");
  auto shown = nlohmann::json::parse(*client.Show(run));
  CHECK(shown["attempts"][0]["class_ms"]["productive"] == 10);
  auto elements = nlohmann::json::parse(*client.Query("run.elements", nlohmann::json{{"run", run.str()}}.dump()));
  CHECK(elements["elements"].size() == 3);
  CHECK(elements["elements"][2]["ended_ms"] == 20);
}

TEST_CASE("a scheduler that is killed and back knows everything that it answered; its worker goes on") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  const int client_port = PortOf(scheduler->client_endpoint());
  const int worker_port = PortOf(scheduler->worker_endpoint());
  SchedulerClient client = ClientOf(*scheduler);
  HandWorker worker(home.path(), scheduler->worker_endpoint());
  worker.Hello(1);
  const RunId run = client.Submit({SubmissionId("s-1"), kNoOp, {}})->run;
  const auto grant = worker.Expect<wire::Grant>();
  worker.Ask<wire::ElementLease>(wire::ElementsWanted{grant.attempt, 2, {}});
  worker.Ask<wire::ElementsCommitted>(wire::ElementReports{grant.attempt, {{0, Instant(10)}}, {{0, Instant(11), 0}}});

  scheduler.reset();
  scheduler = StartIn(home.path(), client_port, worker_port);
  // The client's next question waits for it; the worker is asked who it is, says what it holds, and is told to stop nothing.
  CHECK((*client.List({}))[0].state == "running");
  worker.Say(wire::Heartbeat{});
  worker.Expect<wire::WhoAreYou>();
  CHECK(worker.Hello(1, "1", {grant.attempt}).stop.empty());
  const auto lease = worker.Ask<wire::ElementLease>(wire::ElementsWanted{grant.attempt, 10, {{1, 1}}});
  CHECK(lease.ranges == std::vector<wire::Range>{{2, 1}});
  wire::ElementReports rest{grant.attempt, {{1, Instant(12)}, {2, Instant(13)}}, {{1, Instant(13), 0}, {2, Instant(14), 0}}};
  CHECK(worker.Ask<wire::ElementsCommitted>(rest).done == 3);
  CHECK(worker.Ask<wire::FinishedAck>(wire::Finished{grant.attempt, EndReason::kDone, {}, {}, 0, {}, ""}).accepted);
  CHECK(client.Watch({run, Sequence(0), 1000, 1})->summary.state == "succeeded");
  CHECK(client.Watch({run, Sequence(0), 1000, 1})->summary.attempts == 1);
}

TEST_CASE("a client with a wrong key is not allowed, one that reaches nobody says so") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  auto options = *SchedulerClientOptions::ForHome(home.path(), scheduler->client_endpoint());
  options.keys = MakeKeyPair();
  SchedulerClient stranger = std::move(*SchedulerClient::Connect(options));
  CHECK(stranger.Ping().error().code == ErrorCode::kNotAllowed);
  // The client's key does not open the worker port, nor the worker's the client port.
  auto client_at_worker_port = *SchedulerClientOptions::ForHome(home.path(), scheduler->worker_endpoint());
  CHECK(std::move(*SchedulerClient::Connect(client_at_worker_port)).Ping().error().code == ErrorCode::kNotAllowed);
  options.keys = *ReadKeyPair(home.path() + "/keys", "worker");
  CHECK(std::move(*SchedulerClient::Connect(options)).Ping().error().code == ErrorCode::kNotAllowed);
  auto nobody = *SchedulerClientOptions::ForHome(home.path(), "tcp://127.0.0.1:9");
  nobody.patience = Millis(400);
  CHECK(std::move(*SchedulerClient::Connect(nobody)).Ping().error().code == ErrorCode::kUnreachable);
}

TEST_CASE("a scheduler without its ZAP handler, on a taken home or on a damaged file does not start") {
  TempDirectory home;
  auto without = OptionsFor(home.path());
  without.start_zap_handler = false;
  auto refused = Scheduler::Start(std::move(without));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kNotAllowed);
  {
    auto scheduler = StartIn(home.path());
    CHECK(Scheduler::Start(OptionsFor(home.path())).error().code == ErrorCode::kConflict);
  }
  REQUIRE(WriteFileAtomically(home.path() + "/state.db", "").ok());
  auto empty = Scheduler::Start(OptionsFor(home.path()));
  REQUIRE_FALSE(empty.ok());
  CHECK(empty.error().message == home.path() + "/state.db is empty");
  unlink((home.path() + "/state.db").c_str());
  CHECK_FALSE(Scheduler::Start(OptionsFor(home.path())).ok());
  CHECK_FALSE(FileExists(home.path() + "/state.db"));
}

TEST_CASE("blobs come in pieces, go on where they stopped, and are what they are named by") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  TempDirectory files;
  std::string bytes;
  for (int i = 0; i < 700000; ++i) bytes += std::to_string(i);
  REQUIRE(WriteFileAtomically(files.path() + "/a", bytes).ok());
  const Digest digest = Sha256Of(bytes);
  CHECK(client.HasBlobs({digest})->at(0) == false);
  auto first = scheduler->Call<wire::BlobStored>(wire::PutBlob{digest, bytes.size(), 0, bytes.substr(0, 1000)});
  CHECK(first->next_offset == 1000);
  REQUIRE(client.PutFile(files.path() + "/a", digest).ok());
  CHECK(client.HasBlobs({digest})->at(0) == true);
  REQUIRE(client.GetFile(digest, files.path() + "/b").ok());
  CHECK(*ReadFile(files.path() + "/b") == bytes);
  auto lie = client.PutFile(files.path() + "/a", Sha256Of("something else"));
  REQUIRE_FALSE(lie.ok());
  CHECK(lie.error().code == ErrorCode::kData);
  CHECK(client.GetFile(Sha256Of("nothing"), files.path() + "/c").error().code == ErrorCode::kNotFound);
}

TEST_CASE("what is not there, not known or not possible is said in words") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  CHECK(client.Show(RunId("r-none")).error().code == ErrorCode::kNotFound);
  CHECK(client.Query("no.such", "{}").error().code == ErrorCode::kUnsupported);
  auto gpu = client.Submit({SubmissionId("s-1"), "{", {}});
  REQUIRE_FALSE(gpu.ok());
  HandWorker worker(home.path(), scheduler->worker_endpoint());
  worker.Hello(2);
  auto large = client.Submit({SubmissionId("s-2"),
                              R"({"kind":"command","name":"x","project":"docs","argv":[":"],"array":1,"resources":{"cpus":8}})",
                              {}});
  REQUIRE_FALSE(large.ok());
  CHECK(large.error().Format() == "resources.cpus: 8 asked for, the largest worker has 2; ask for at most 2");
  auto workers = nlohmann::json::parse(*client.Query("worker.list", "{}"));
  CHECK(workers["workers"][0]["devices"].size() == 2);
}

TEST_CASE("text that is not UTF-8 and questions of another shape are refused or shown, and end nothing") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  auto id = client.Submit({SubmissionId("caf\xe9"), kNoOp, {}});
  REQUIRE_FALSE(id.ok());
  CHECK(id.error().message == "the submission id \"caf\\xe9\" is not UTF-8");
  const Digest digest = Sha256Of("x");
  TempDirectory files;
  REQUIRE(WriteFileAtomically(files.path() + "/a", "x").ok());
  REQUIRE(client.PutFile(files.path() + "/a", digest).ok());
  auto name = client.Submit({SubmissionId("s-1"), kNoOp, {wire::Input{"data", true, {{"caf\xe9.txt", digest, 1}}}}});
  REQUIRE_FALSE(name.ok());
  CHECK(name.error().key == "data");
  CHECK(name.error().message == "\"caf\\xe9.txt\" is not a path within an input, in UTF-8");

  const RunId run = client.Submit({SubmissionId("s-2"), kNoOp, {}})->run;
  CHECK(client.Query("scheduler.drain", R"({"drain":"x"})").error().code == ErrorCode::kUsage);
  CHECK(client.Query("worker.drain", R"({"worker":7})").error().code == ErrorCode::kUsage);
  auto elements = client.Query("run.elements", nlohmann::json{{"run", run.str()}, {"from", "x"}}.dump());
  REQUIRE_FALSE(elements.ok());
  CHECK(elements.error().code == ErrorCode::kUsage);
  CHECK(elements.error().message.find("run.elements: ") == 0);
  CHECK(client.Cancel(run, true, "d\xe9j\xe0 vu").ok());
  CHECK(client.Show(run).ok());
  CHECK(scheduler->healthy());
}

TEST_CASE("where a step cannot be stored, those who asked are told so and the next step is taken") {
  TempDirectory home;
  auto scheduler = StartIn(home.path());
  SchedulerClient client = ClientOf(*scheduler);
  auto beside = Store::Open(home.path() + "/state.db", {}, StoreMode::kMustExist);
  REQUIRE(beside.ok());
  const auto change = [&](const std::string& sql) {
    auto transaction = (*beside)->Begin();
    REQUIRE(transaction.ok());
    REQUIRE(transaction->db().RunScript(sql).ok());
    REQUIRE(transaction->Commit().ok());
  };
  change("CREATE TRIGGER full BEFORE INSERT ON run BEGIN SELECT RAISE(ROLLBACK, 'no room'); END");
  auto refused = client.Submit({SubmissionId("s-1"), kNoOp, {}});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("no room") != std::string::npos);
  CHECK(client.List({})->empty());
  CHECK_FALSE(FileExists(home.path() + "/runs"));
  change("DROP TRIGGER full");
  CHECK(client.Submit({SubmissionId("s-1"), kNoOp, {}}).ok());
  CHECK(client.List({})->size() == 1);
}

}  // namespace
}  // namespace lorry
