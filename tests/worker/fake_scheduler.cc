#include "tests/worker/fake_scheduler.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/transport/keys.h"
#include "base/transport/poller.h"
#include "worker/blob_cache.h"

namespace lorry::test {
namespace {

constexpr int64_t kPatienceMillis = 60'000;

std::set<uint64_t> Numbers(const std::vector<wire::Range>& ranges) {
  std::set<uint64_t> numbers;
  for (const wire::Range& range : ranges) {
    for (uint64_t i = 0; i < range.count; ++i) numbers.insert(range.first + i);
  }
  return numbers;
}

nlohmann::json JobJson(const FakeScheduler::Job& job) {
  nlohmann::json json = {
      {"kind", job.kind}, {"name", "n"}, {"project", "docs"}, {"resources", nlohmann::json::parse(job.resources)}};
  if (!job.script.empty()) json["labels"] = {{"fake", job.script}};
  if (job.kind == "finetune") {
    json["base_model"] = "org/base@v1";
    json["dataset"] = {{"path", "/data/train.jsonl"}};
    json["training"] = {{"max_steps", 1}, {"tokens_per_step", 1}};
    json["output"] = {{"adapter", "org/made"}};
  } else if (job.kind == "batch") {
    json.update({{"model", "org/base@v1"}, {"input", "/data/in.jsonl"}, {"output", "/data/out"}});
  } else {
    json["argv"] = job.argv;
    if (job.array > 0) json["array"] = job.array;
  }
  return json;
}

}  // namespace

std::string TestProgram(const std::string& name) {
  const char* folder = std::getenv("LORRY_TEST_BIN");
  return (folder != nullptr ? std::string(folder) : ProgramDirectory() + "/../bin") + "/" + name;
}

FakeScheduler::FakeScheduler(bool shared) : shared_(shared) {
  REQUIRE(MakeHomeKeys(home_.path()).ok());
  REQUIRE(WriteFileAtomically(home_.path() + "/home.id", "fake-home\n").ok());
  if (!shared_) {
    std::filesystem::create_directories(own_home_.path() + "/keys");
    for (const char* name : {"worker.public", "worker.secret", "scheduler.public"}) {
      std::filesystem::copy_file(home_.path() + "/keys/" + name, own_home_.path() + "/keys/" + name);
    }
  }
  context_ = TransportContext::Make();
  auto zap = ZapHandler::Start(context_, {{"workers", [home = home_.path()] { return AllowedWorkerKeys(home); }}});
  REQUIRE(zap.ok());
  zap_ = std::move(*zap);
  RouterPortOptions options{
      .bind = "tcp://127.0.0.1:0", .zap_domain = "workers", .keys = *ReadKeyPair(KeysDirectory(home_.path()), "scheduler")};
  auto port = RouterPort::Open(context_, zap_.get(), options);
  REQUIRE(port.ok());
  port_ = std::move(*port);
}

FakeScheduler::~FakeScheduler() { worker_.reset(); }

void FakeScheduler::StartWorker(const std::string& devices) {
  SpawnOptions options;
  options.argv = {TestProgram("fake_rank_worker"), worker_home(), endpoint(), devices};
  options.stderr_path = options.stdout_path = home_.path() + "/worker.log";
  auto started = ChildProcess::Start(options);
  REQUIRE(started.ok());
  worker_.emplace(std::move(*started));
  REQUIRE(WaitForHello(hellos_.size() + 1));
}

void FakeScheduler::KillWorker() {
  ::kill(worker_->pid(), SIGKILL);
  worker_->Wait();
  worker_.reset();
  knows_session_ = false;
}

ProcessEnd FakeScheduler::EndWorker() {
  ::kill(worker_->pid(), SIGTERM);
  WaitUntil([this] { return worker_->Poll().has_value(); });
  const ProcessEnd end = *worker_->Wait();
  worker_.reset();
  return end;
}

bool FakeScheduler::WaitUntil(const std::function<bool()>& done) {
  const int64_t until = SystemClock().MonotonicMillis() + kPatienceMillis;
  while (!done()) {
    if (SystemClock().MonotonicMillis() > until) return false;
    Turn();
  }
  return true;
}

bool FakeScheduler::WaitForHello(size_t count) {
  return WaitUntil([&] { return hellos_.size() >= count; });
}

const wire::Finished* FakeScheduler::WaitForEnd(const std::string& run, uint64_t attempt) {
  AttemptSeen& about = seen(run, attempt);
  if (!WaitUntil([&] { return !about.finished.empty(); })) return nullptr;
  return &about.finished.front();
}

void FakeScheduler::Grant(const Job& job, const std::vector<wire::Device>& devices) {
  wire::Grant grant;
  grant.attempt = {RunId(job.run), AttemptNumber(job.attempt), Epoch(job.attempt)};
  grant.kind = job.kind;
  grant.job_json = JobJson(job).dump();
  for (size_t i = 0; i < job.devices; ++i) grant.devices.push_back(devices[i].id);
  grant.inputs = job.inputs;
  grant.array = job.array;
  grant.committed_rows = rows.size();
  for (const auto& [key, about] : seen_) {
    if (key.first == job.run) {
      grant.checkpoints.insert(grant.checkpoints.begin(), about.checkpoints.rbegin(), about.checkpoints.rend());
    }
  }
  REQUIRE(port_->Send(peer_, wire::EncodeMessage(wire::Header{.session = session_, .epoch = job.attempt}, grant)).ok());
}

void FakeScheduler::Stop(const Job& job, wire::StopMode mode, EndReason reason, uint32_t grace_ms) {
  const wire::Stop stop{.attempt = {RunId(job.run), AttemptNumber(job.attempt), Epoch(job.attempt)},
                        .mode = mode,
                        .reason = reason,
                        .grace_ms = grace_ms};
  REQUIRE(port_->Send(peer_, wire::EncodeMessage(wire::Header{.session = session_}, stop)).ok());
}

wire::Input FakeScheduler::MakeInput(const std::string& name, const std::map<std::string, std::string>& files) {
  wire::Input input{.name = name, .directory = files.size() > 1, .files = {}};
  for (const auto& [path, bytes] : files) {
    TempDirectory folder;
    REQUIRE(WriteFileAtomically(folder.path() + "/file", bytes).ok());
    auto blob = StoreBlob(home(), folder.path() + "/file");
    REQUIRE(blob.ok());
    blob->path = path;
    input.files.push_back(*blob);
  }
  return input;
}

std::string FakeScheduler::ReadOutput(const wire::Finished& finished, const std::string& name, const std::string& path) {
  for (const wire::Output& output : finished.outputs) {
    for (const wire::BlobFile& file : output.files) {
      if (output.name == name && file.path == path) return *ReadFile(BlobPath(home(), file.digest));
    }
  }
  return "no such output";
}

void FakeScheduler::Turn() {
  Poller poller;
  poller.Watch(*port_, 0);
  poller.Wait(Millis(10));
  while (const std::optional<Received> received = port_->Receive()) {
    const auto message = wire::ParseMessage(received->bytes);
    REQUIRE(message.ok());
    Take(*received, *message);
  }
}

template <class Body>
void FakeScheduler::Answer(const Received& received, const wire::Message& message, const Body& body) {
  const wire::Header header{.session = session_, .request = message.header.request};
  (void)port_->Send(received.peer, wire::EncodeMessage(header, body)).ok();
}

void FakeScheduler::SayWhoAreYou(int times) {
  for (int i = 0; i < times; ++i)
    (void)port_->Send(peer_, wire::EncodeMessage(wire::Header{.session = session_ - 1}, wire::WhoAreYou{})).ok();
}

void FakeScheduler::Take(const Received& received, const wire::Message& message) {
  if (message.header.type == wire::Type::kHello) {
    hellos_.push_back(*wire::DecodeBody<wire::Hello>(message));
    peer_ = received.peer;
    ++session_;
    knows_session_ = true;
    return Answer(
        received, message,
        wire::Welcome{
            .session = session_, .heartbeat_ms = 50, .lease_ms = 3000, .shares_home = hellos_.back().home_id == "fake-home\n"});
  }
  if (!knows_session_ || message.header.session != session_) {
    const wire::Header header{.session = message.header.session, .request = message.header.request};
    (void)port_->Send(received.peer, wire::EncodeMessage(header, wire::WhoAreYou{})).ok();
    return;
  }
  if (message.header.type == wire::Type::kHeartbeat) {
    const auto beat = *wire::DecodeBody<wire::Heartbeat>(message);
    CHECK(beat.storage_ok);
    leaving_ = beat.leaving;
    for (const wire::Metered& metered : beat.metered) TakeMetered(metered);
    return Answer(received, message, wire::HeartbeatAck{});
  }
  TakeAboutAttempts(received, message);
  TakeReports(received, message);
  TakeBlobs(received, message);
}

void FakeScheduler::TakeMetered(const wire::Metered& metered) {
  std::vector<wire::Span>& spans = SeenOf(metered.attempt).spans;
  REQUIRE(metered.first_span <= spans.size());
  spans.resize(std::max<size_t>(spans.size(), metered.first_span + metered.spans.size()));
  std::copy(metered.spans.begin(), metered.spans.end(), spans.begin() + static_cast<ptrdiff_t>(metered.first_span));
}

void FakeScheduler::TakeAboutAttempts(const Received& received, const wire::Message& message) {
  if (message.header.type == wire::Type::kCheckpoint) {
    const auto body = *wire::DecodeBody<wire::Checkpoint>(message);
    SeenOf(body.attempt).checkpoints.push_back(body.checkpoint);
    return Answer(received, message, wire::CheckpointCommitted{body.attempt, body.checkpoint.step, true});
  }
  if (message.header.type == wire::Type::kFinished) {
    const auto body = *wire::DecodeBody<wire::Finished>(message);
    TakeMetered({body.attempt, body.first_span, body.spans});
    SeenOf(body.attempt).finished.push_back(body);
    SeenOf(body.attempt).worker_left = leaving_;
    if (lose_finished_acks > 0) {
      --lose_finished_acks;
    } else {
      Answer(received, message, wire::FinishedAck{body.attempt, true});
    }
  }
  if (message.header.type == wire::Type::kLogBytes) {
    const auto body = *wire::DecodeBody<wire::LogBytes>(message);
    std::string& log = SeenOf(body.attempt).log;
    if (body.rank == 0 && body.offset == log.size()) log += body.bytes;
    Answer(received, message, wire::LogAck{body.attempt, body.rank, body.offset + body.bytes.size()});
  }
}

void FakeScheduler::TakeReports(const Received& received, const wire::Message& message) {
  if (message.header.type == wire::Type::kRowReports) {
    const auto body = *wire::DecodeBody<wire::RowReports>(message);
    for (const wire::RowReport& row : body.rows) rows.try_emplace(row.row.value(), row);
    if (lose_row_commits > 0) {
      --lose_row_commits;
    } else {
      Answer(received, message, wire::RowsCommitted{body.attempt, body.rows.size(), rows.size()});
    }
  }
  if (message.header.type == wire::Type::kListRows) {
    const auto body = *wire::DecodeBody<wire::ListRows>(message);
    wire::RowPage page{.rows = {}, .last = true};
    for (const auto& [index, row] : rows) {
      if (index < body.from.value()) continue;
      if (page.rows.size() == 3) {
        page.last = false;
      } else {
        page.rows.push_back(row);
      }
    }
    Answer(received, message, page);
  }
  if (message.header.type == wire::Type::kElementReports) {
    const auto body = *wire::DecodeBody<wire::ElementReports>(message);
    for (const wire::ElementStart& start : body.started) ++element_starts[start.element];
    for (const wire::ElementEnd& end : body.ended) element_ends[end.element].push_back(end.status);
    Answer(received, message, wire::ElementsCommitted{body.attempt, element_ends.size()});
  }
  if (message.header.type == wire::Type::kProgress) {
    const auto body = *wire::DecodeBody<wire::Progress>(message);
    SeenOf(body.attempt).metrics += body.lines;
  }
  if (message.header.type == wire::Type::kRowsWanted) LeaseRows(received, message);
  if (message.header.type == wire::Type::kElementsWanted) LeaseElements(received, message);
}

void FakeScheduler::LeaseRows(const Received& received, const wire::Message& message) {
  const auto body = *wire::DecodeBody<wire::RowsWanted>(message);
  CHECK(body.total == rows_of_run);
  const std::set<uint64_t> held = Numbers(body.held);
  wire::RowLease lease{.attempt = body.attempt, .ranges = {}, .no_more = rows.size() == rows_of_run};
  for (uint64_t row = 0; row < rows_of_run && lease.ranges.size() < body.count; ++row) {
    if (!rows.contains(row) && !held.contains(row)) lease.ranges.push_back({row, 1});
  }
  Answer(received, message, lease);
}

void FakeScheduler::LeaseElements(const Received& received, const wire::Message& message) {
  const auto body = *wire::DecodeBody<wire::ElementsWanted>(message);
  const std::set<uint64_t> held = Numbers(body.held);
  wire::ElementLease lease{.attempt = body.attempt, .ranges = {}, .no_more = element_ends.size() == elements_of_run};
  for (uint64_t element = 0; element < elements_of_run && lease.ranges.size() < body.count; ++element) {
    if (!element_ends.contains(element) && !held.contains(element)) lease.ranges.push_back({element, 1});
  }
  Answer(received, message, lease);
}

void FakeScheduler::TakeBlobs(const Received& received, const wire::Message& message) {
  if (message.header.type == wire::Type::kGetBlob) {
    const auto body = *wire::DecodeBody<wire::GetBlob>(message);
    const std::string bytes = *ReadFile(BlobPath(home(), body.digest));
    return Answer(
        received, message,
        wire::BlobPiece{bytes.size(), body.offset, bytes.substr(body.offset, std::min<size_t>(body.max_bytes, 100'000))});
  }
  if (message.header.type != wire::Type::kPutBlob) return;
  const auto body = *wire::DecodeBody<wire::PutBlob>(message);
  std::string& bytes = uploads_[body.digest.hex()];
  if (body.offset == bytes.size()) bytes += body.bytes;
  const bool complete = bytes.size() == body.size && Sha256Of(bytes) == body.digest;
  if (complete) {
    std::filesystem::create_directories(std::filesystem::path(BlobPath(home(), body.digest)).parent_path());
    REQUIRE(WriteFileAtomically(BlobPath(home(), body.digest), bytes).ok());
  }
  Answer(received, message, wire::BlobStored{bytes.size(), complete});
}

Metering Sum(const std::vector<wire::Span>& spans) {
  Metering sum;
  std::map<std::string, Instant> last;
  for (const wire::Span& span : spans) {
    const auto [it, is_new] = last.try_emplace(span.device.str(), span.t0);
    sum.unbroken = sum.unbroken && it->second == span.t0 && span.t0 <= span.t1;
    it->second = span.t1;
    sum.class_ms[span.usage_class] += (span.t1 - span.t0).count();
    sum.device_ms[span.device.str()] += (span.t1 - span.t0).count();
  }
  return sum;
}

std::vector<pid_t> ProcessesWith(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto command = ReadFile(entry.path().string() + "/cmdline", 1 << 20);
    if (command.ok() && command->find(text) != std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

}  // namespace lorry::test
