// The program lorry-train as a worker starts it: losses against PEFT's, bytes across ranks and lanes, kill -9 and resume.
// The model, the data and PEFT's losses are those of tests/golden/make_training.py.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/files.h"
#include "base/process.h"
#include "base/random.h"
#include "base/task_contract.h"
#include "configs/sweep.h"
#include "trainers/hdf5_image.h"

namespace lorry::trainers {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

const std::string kGolden = std::filesystem::absolute("tests/golden/training").string();

json Job() {
  return {
      {"kind", "finetune"},
      {"name", "tiny"},
      {"project", "docs"},
      {"base_model", kGolden + "/base"},
      {"dataset", {{"path", kGolden + "/train.jsonl"}, {"max_length", 256}}},
      {"adapter", {{"r", 4}, {"alpha", 8}}},
      {"training", {{"max_steps", 30}, {"tokens_per_step", 400}, {"learning_rate", 1e-2}, {"precision", "fp32"}, {"seed", 7}}},
      {"checkpoint", {{"every_steps", 7}}},
      {"resources", {{"cpus", 2}}},
      {"output", {{"adapter", "acme/tiny"}}}};
}

// When the worker of a test kills a rank: on the first line `type` of step `step` or a later one (a run that goes on may be past
// it already), `delay` after it arrived.
struct Kill {
  std::string type;
  int64_t step = 0;
  std::chrono::microseconds delay{0};
};

// The worker's side of the task socket: takes every rank's lines until all ranks have gone.
class FakeWorker {
 public:
  explicit FakeWorker(const std::string& path) {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(::listen(listener_, 8) == 0);
  }
  ~FakeWorker() { ::close(listener_); }

  // Returns when all ranks that said hello have gone; kills one of them as `kill` says. `on_line` may answer to that rank.
  void Serve(const std::optional<Kill>& kill, const std::function<void(const json&, int fd)>& on_line = {}) {
    std::map<int, std::string> buffers;
    std::optional<Clock::time_point> due;
    bool begun = false;
    while (!begun || !buffers.empty()) {
      std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
      for (const auto& [fd, text] : buffers) fds.push_back({fd, POLLIN, 0});
      REQUIRE(::poll(fds.data(), fds.size(), due && !killed ? MillisUntil(*due) : 120000) >= 0);
      if (due && !killed && Clock::now() >= *due) KillOne();
      if (fds[0].revents != 0) {
        buffers[::accept(listener_, nullptr, nullptr)];
        begun = true;
      }
      for (size_t i = 1; i < fds.size(); ++i) {
        if (fds[i].revents != 0 && !Read(fds[i].fd, buffers[fds[i].fd], kill, &due, on_line)) buffers.erase(fds[i].fd);
      }
    }
  }

  std::vector<json> lines;
  bool killed = false;

  std::vector<json> Lines(const std::string& type) const {
    std::vector<json> some;
    for (const json& line : lines) {
      if (line["t"] == type) some.push_back(line);
    }
    return some;
  }

 private:
  static int MillisUntil(Clock::time_point due) {
    return static_cast<int>(std::max<int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count()));
  }
  void KillOne() {
    killed = true;
    if (!pids_.empty()) ::kill(pids_.back(), SIGKILL);
  }
  bool Read(int fd, std::string& buffer, const std::optional<Kill>& kill, std::optional<Clock::time_point>* due,
            const std::function<void(const json&, int)>& on_line) {
    char piece[65536];
    const ssize_t got = ::recv(fd, piece, sizeof(piece), 0);
    if (got <= 0) {
      ::close(fd);
      return false;
    }
    buffer.append(piece, static_cast<size_t>(got));
    for (size_t end = buffer.find('\n'); end != std::string::npos; end = buffer.find('\n')) {
      const json line = json::parse(buffer.substr(0, end));
      buffer.erase(0, end + 1);
      lines.push_back(line);
      if (line["t"] == "hello") pids_.push_back(line["pid"]);
      if (on_line) on_line(line, fd);
      const bool phase = kill && kill->type == line.value("phase", "");
      const bool other = kill && kill->type == line["t"] && line.value("step", int64_t{0}) >= kill->step;
      if ((phase || other) && !*due) *due = Clock::now() + kill->delay;
      if (*due && !killed && Clock::now() >= **due) KillOne();
    }
    return true;
  }

  int listener_;
  std::vector<pid_t> pids_;
};

struct Layout {
  int ranks = 1;
  int lanes = 2;  // of all ranks together
};

struct AttemptEnd {
  ProcessEnd end;
  std::vector<json> lines;
  bool killed = false;
};

// A run in a folder of its own; each attempt goes on where the last one was cut.
struct Run {
  TempDirectory home;
  json job = Job();
  std::map<std::string, std::string> more_inputs;
  int attempts = 0;

  std::string AttemptDir() const { return home.path() + "/attempts/" + std::to_string(attempts); }

  AttemptEnd Attempt(Layout layout = {}, std::optional<Kill> kill = {},
                     const std::function<void(const json&, int)>& on_line = {}) {
    ++attempts;
    REQUIRE(MakeDirectories(AttemptDir()).ok());
    TaskFile task;
    task.run = RunId("R1");
    task.attempt = AttemptNumber(static_cast<uint64_t>(attempts));
    task.epoch = Epoch(1);
    task.kind = "finetune";
    task.job = job;
    task.attempt_dir = AttemptDir();
    task.run_dir = home.path();
    task.cache_dir = home.path() + "/cache";
    task.socket = AttemptDir() + "/task.sock";
    task.ranks = layout.ranks;
    task.lanes = layout.lanes;
    task.inputs = {{"base_model", kGolden + "/base"}, {"train", kGolden + "/train.jsonl"}};
    for (const auto& [name, path] : more_inputs) task.inputs[name] = path;
    REQUIRE(task.Write(AttemptDir() + "/task.json").ok());

    SpawnOptions spawn;
    spawn.stdout_path = spawn.stderr_path = AttemptDir() + "/log";
    if (layout.ranks > 1) {
      spawn.argv = {
          "mpirun", "-n", std::to_string(layout.ranks), "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle",
          "1"};
      spawn.env = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
    }
    spawn.argv.push_back(std::string(std::getenv("LORRY_BIN")) + "/lorry-train");
    spawn.argv.insert(spawn.argv.end(), {"--task", AttemptDir() + "/task.json"});
    FakeWorker worker(task.socket);
    ChildProcess child = std::move(*ChildProcess::Start(spawn));
    worker.Serve(kill, on_line);
    return {*child.Wait(), worker.lines, worker.killed};
  }

  void Finish(Layout layout = {}) {
    const AttemptEnd end = Attempt(layout);
    INFO(ReadFile(AttemptDir() + "/log").value());
    REQUIRE(end.end.exit_status == 0);
    REQUIRE(end.end.signal == 0);
  }
  std::string Adapter() const { return *ReadFile(AttemptDir() + "/adapter/adapter_model.safetensors"); }
  std::string Trace() const { return *ReadFile(home.path() + "/trace.h5"); }
  std::vector<double> Losses() const {
    const std::string bytes = Trace();
    return (*Hdf5Image::Open(bytes, "trace"))->Doubles("loss").value();
  }
};

TEST_CASE("from PEFT's first adapter, twenty steps in fp32 have PEFT's losses, with LoRA+ as without") {
  const bool plus = GENERATE(false, true);
  Run run;
  run.job["training"] = {{"max_steps", 20},       {"rows_per_micro_batch", 2},  {"micro_batches_per_step", 2},
                         {"learning_rate", 2e-4}, {"lr_scheduler", "constant"}, {"precision", "fp32"}};
  if (plus) run.job["training"]["loraplus_lr_ratio"] = 16;
  run.job["dataset"]["shuffle"] = false;
  run.more_inputs["adapter"] = kGolden + "/initial";
  run.Finish();
  const json golden = json::parse(*ReadFile(kGolden + (plus ? "/loraplus.json" : "/losses.json")));
  const std::vector<double> losses = run.Losses();
  REQUIRE(losses.size() == 20);
  double farthest = 0;
  for (size_t step = 0; step < losses.size(); ++step) {
    farthest = std::max(farthest, std::abs(losses[step] - golden["losses"][step].get<double>()));
  }
  INFO("farthest loss " << farthest << (plus ? " with LoRA+" : ""));
  CHECK(farthest < 2e-5);
}

TEST_CASE("one rank with two lanes and two ranks with one lane give the same adapter") {
  for (const char* precision : {"fp32", "bf16"}) {
    INFO(precision);
    Run one, two;
    one.job["training"]["precision"] = two.job["training"]["precision"] = precision;
    one.Finish({.ranks = 1, .lanes = 2});
    two.Finish({.ranks = 2, .lanes = 2});
    CHECK(one.Adapter() == two.Adapter());
    CHECK(one.Trace() == two.Trace());
  }
}

TEST_CASE("dropout is the job's: the same adapter on other ranks and after a kill, and another than without") {
  Run plain, one, two;
  one.job["adapter"]["dropout"] = two.job["adapter"]["dropout"] = 0.2;
  plain.Finish();
  one.Finish({.ranks = 1, .lanes = 2});
  CHECK(two.Attempt({.ranks = 2, .lanes = 2}, Kill{"step", 12, std::chrono::microseconds(0)}).killed);
  two.Finish({.ranks = 1, .lanes = 2});
  CHECK(one.Adapter() == two.Adapter());
  CHECK(one.Trace() == two.Trace());
  CHECK(one.Adapter() != plain.Adapter());
}

TEST_CASE("a run killed with -9 at random moments gives the undisturbed run's bytes") {
  Run undisturbed;
  undisturbed.Finish();
  for (const uint64_t seed : {20261121, 42}) {
    Random random(seed, "test.kills");
    std::vector<Kill> kills;
    for (int i = 0; i < 3; ++i) {  // ever later steps: an attempt that resumes behind one would not meet it
      kills.push_back({"step", static_cast<int64_t>(1 + 10 * i + random.Below(8)), std::chrono::microseconds(random.Below(400))});
    }
    kills.push_back({"checkpoint", 0, std::chrono::microseconds(random.Below(300))});  // the phase: inside a checkpoint's write
    kills.push_back({"output", 0, std::chrono::microseconds(0)});                      // between output and report
    Run run;
    int64_t interrupted = 0, recomputed = 0;
    for (const Kill& kill : kills) {
      const AttemptEnd end = run.Attempt(random.Below(2) == 0 ? Layout{1, 2} : Layout{2, 2}, kill);
      WARN("seed " << seed << ": killed " << end.killed << " on " << kill.type << " " << kill.step << " + " << kill.delay.count()
                   << " us");
      interrupted += end.killed && (end.end.signal == SIGKILL || end.end.exit_status != 0);
      for (const json& line : end.lines) recomputed += line.value("phase", "") == "recomputed";
    }
    run.Finish();
    CHECK(interrupted >= 3);
    CHECK(recomputed >= 1);
    CHECK(run.Adapter() == undisturbed.Adapter());
    CHECK(run.Trace() == undisturbed.Trace());
  }
}

// A minute and more: tests/live/reranked_live.py runs it. The seed is drawn, or comes from LORRY_SEED.
TEST_CASE("twenty runs killed at random steps and resumed on one, two or four ranks all give one adapter", "[.twenty]") {
  const char* given = std::getenv("LORRY_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : static_cast<uint64_t>(SystemClock().MonotonicMillis());
  WARN("LORRY_SEED=" << seed);
  Random random(seed, "test.ranks");
  const std::vector<Layout> layouts = {{1, 4}, {2, 4}, {4, 4}};
  Run undisturbed;
  undisturbed.Finish(layouts[0]);
  int64_t interrupted = 0;
  for (int i = 0; i < 20; ++i) {
    Run run;
    std::string moments;
    for (int64_t step = 1 + static_cast<int64_t>(random.Below(10)); step < 30;
         step += 4 + static_cast<int64_t>(random.Below(16))) {
      const Layout& layout = layouts[random.Below(layouts.size())];
      const Kill kill{"step", step, std::chrono::microseconds(random.Below(2000))};
      const AttemptEnd end = run.Attempt(layout, kill);
      interrupted += end.killed && (end.end.signal == SIGKILL || end.end.exit_status != 0);
      moments += fmt::format(" {} ranks at step {} + {} us;", layout.ranks, step, kill.delay.count());
    }
    const Layout& last = layouts[random.Below(layouts.size())];
    run.Finish(last);
    WARN("run " << i << ": killed on" << moments << " finished on " << last.ranks);
    CHECK(run.Adapter() == undisturbed.Adapter());
    CHECK(run.Trace() == undisturbed.Trace());
  }
  CHECK(interrupted >= 20);
}

json SweepJob() {
  json job = Job();
  job["dataset"]["val_fraction"] = 0.2;
  job["training"]["eval_every_steps"] = 10;
  job["checkpoint"]["keep_best"] = true;
  job["sweep"]["space"] = {{"training.learning_rate", {1e-3, 1e-2}}, {"adapter.r", {2, 5}}};
  return job;
}

std::string PointFile(const Run& run, size_t point, const std::string& name) {
  return *ReadFile(fmt::format("{}/points/{:02}/{}", run.AttemptDir(), point, name));
}

TEST_CASE("each adapter of a sweep is that of its job alone, to the byte, on any ranks and after kills") {
  Run together, interrupted;
  together.job = interrupted.job = SweepJob();
  together.Finish({.ranks = 2, .lanes = 2});
  Random random(20261130, "test.sweep.kills");
  int64_t killed = 0;
  for (int i = 0; i < 4; ++i) {
    const Kill kill{i == 3 ? "output" : "step", 2 + 7 * i, std::chrono::microseconds(random.Below(400))};
    killed += interrupted.Attempt({.ranks = 1, .lanes = 2}, kill).killed;
  }
  CHECK(killed >= 3);
  interrupted.Finish({.ranks = 2, .lanes = 2});

  const json report = json::parse(*ReadFile(together.AttemptDir() + "/sweep.json"));
  CHECK(report == json::parse(*ReadFile(interrupted.AttemptDir() + "/sweep.json")));
  const auto points = SweepPoints(SweepJob());
  REQUIRE(points.ok());
  REQUIRE(points->size() == 4);
  double lowest = 1e9;
  for (size_t i = 0; i < points->size(); ++i) {
    INFO(points->at(i).Label());
    Run alone;
    alone.job = points->at(i).job;
    alone.Finish();
    for (const Run* sweep : {&together, &interrupted}) {
      CHECK(PointFile(*sweep, i, "adapter_model.safetensors") == alone.Adapter());
      CHECK(PointFile(*sweep, i, "adapter_config.json") == *ReadFile(alone.AttemptDir() + "/adapter/adapter_config.json"));
      CHECK(PointFile(*sweep, i, "trace.h5") == alone.Trace());
    }
    CHECK(report["points"][i]["values"] == points->at(i).values);
    lowest = std::min(lowest, report["points"][i]["eval_loss"].get<double>());
  }
  const auto best = report["best"].get<size_t>();
  CHECK(report["points"][best]["eval_loss"] == lowest);
  CHECK(together.Adapter() == PointFile(together, best, "adapter_model.safetensors"));
}

TEST_CASE("a point of a sweep whose loss is no number ends by itself") {
  Run run;
  run.job = SweepJob();
  run.job["training"].erase("max_grad_norm");
  run.job["training"]["max_grad_norm"] = 0;
  run.job["training"]["warmup_ratio"] = 0;
  run.job["sweep"]["space"] = {{"training.learning_rate", {1e-3, 1}}, {"adapter.alpha", {65536}}};
  run.Finish();
  const json report = json::parse(*ReadFile(run.AttemptDir() + "/sweep.json"));
  CHECK(report["best"] == 0);
  CHECK(report["points"][1].value("error", "").find("the loss is") != std::string::npos);
  CHECK_FALSE(FileExists(run.AttemptDir() + "/points/01"));
}

TEST_CASE("asked to stop, a run leaves a checkpoint and exits with 3; it then goes on to the same bytes") {
  Run undisturbed, run;
  undisturbed.Finish();
  const AttemptEnd end = run.Attempt({2, 2}, {}, [](const json& line, int fd) {
    if (line["t"] != "step" || line["step"] != 4) return;
    const std::string stop = "{\"t\":\"stop\",\"mode\":\"checkpoint\"}\n";
    REQUIRE(::send(fd, stop.data(), stop.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(stop.size()));
  });
  CHECK(end.end.exit_status == 3);
  CHECK_FALSE(FileExists(run.AttemptDir() + "/adapter"));
  run.Finish();
  CHECK(run.Adapter() == undisturbed.Adapter());
}

TEST_CASE("rank and alpha patterns reach the adapter's files; one that fits nothing is an error") {
  Run run;
  run.job["training"]["max_steps"] = 2;
  run.job["adapter"]["rank_pattern"] = {{"down_proj", 6}, {"layers.0.self_attn.q_proj", 2}};
  run.job["adapter"]["alpha_pattern"] = {{"down_proj", 3}};
  run.Finish();
  const json config = json::parse(*ReadFile(run.AttemptDir() + "/adapter/adapter_config.json"));
  CHECK(config["rank_pattern"] == run.job["adapter"]["rank_pattern"]);
  CHECK(config["alpha_pattern"] == run.job["adapter"]["alpha_pattern"]);
  const std::string tensors = run.Adapter();
  CHECK(tensors.find("layers.0.self_attn.q_proj.lora_A.weight") != std::string::npos);

  Run wrong;
  wrong.job["adapter"]["rank_pattern"] = {{"no_proj", 6}};
  const AttemptEnd end = wrong.Attempt();
  CHECK(end.end.exit_status == 64);
  CHECK(ReadFile(wrong.AttemptDir() + "/log")->find("adapter.rank_pattern.no_proj: fits no adapted layer") != std::string::npos);
}

TEST_CASE("a run on a base in NF4 goes on to the same bytes, and not from a checkpoint of a run on the whole base") {
  Run whole, undisturbed, run;
  undisturbed.job["adapter"]["type"] = run.job["adapter"]["type"] = "qlora";
  whole.Finish();
  undisturbed.Finish();
  CHECK(whole.Losses() != undisturbed.Losses());
  CHECK(whole.Losses().front() == Approx(undisturbed.Losses().front()).epsilon(0.05));

  CHECK(run.Attempt({}, Kill{"step", 12}).killed);
  run.Finish();
  CHECK(run.Adapter() == undisturbed.Adapter());
  run.job["adapter"]["type"] = "lora";
  const AttemptEnd end = run.Attempt();
  CHECK(end.end.exit_status == 64);
  std::string reason;
  for (const json& line : end.lines) {
    if (line["t"] == "error") reason = line.dump();
  }
  CHECK_THAT(reason, Catch::Contains("another job"));
}

TEST_CASE("broken inputs end with their sort of error") {
  TempDirectory files;
  const auto file = [&](const std::string& name, const std::string& text) {
    REQUIRE(WriteFileAtomically(files.path() + "/" + name, text).ok());
    return files.path() + "/" + name;
  };
  struct Case {
    const char* name;
    std::string input;
    std::string path;
    json change;
    int exit;
    std::string reason;
  };
  const Case cases[] = {
      {"no rows", "train", file("empty.jsonl", ""), {}, 65, "data_error"},
      {"not JSON",
       "train",
       file("broken.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\":"),
       {},
       65,
       "data_error"},
      {"a row that is too long",
       "train",
       file("long.jsonl", "{\"prompt\": \"" + std::string(300, 'x') + "\", \"completion\": \"b\"}\n"),
       {},
       65,
       "data_error"},
      {"a target that matches nothing", "", "", {{"adapter", {{"target_modules", {"no_such_proj"}}}}}, 64, "spec_error"},
      {"longer than the context", "", "", {{"dataset", {{"max_length", 1000}}}}, 64, "spec_error"},
      {"a GPU where there is none", "", "", {{"resources", {{"cpus", nullptr}, {"gpus", 1}}}}, 64, "spec_error"},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    Run run;
    if (!c.input.empty()) run.more_inputs[c.input] = c.path;
    if (!c.change.is_null()) run.job.merge_patch(c.change);
    if (c.input == "train") run.job["dataset"]["path"] = c.path;
    const AttemptEnd end = run.Attempt();
    CHECK(end.end.exit_status == c.exit);
    std::string reason;
    for (const json& line : end.lines) {
      if (line["t"] == "error") reason = line["reason"];
    }
    CHECK(reason == c.reason);
  }
}

}  // namespace
}  // namespace lorry::trainers
