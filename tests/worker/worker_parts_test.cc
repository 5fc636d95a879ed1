// The parts of the worker that need no scheduler: devices, reasons, launching, blobs, leftovers.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include <fmt/format.h>
#include <catch2/catch.hpp>

#include "base/files.h"
#include "tests/worker/fake_scheduler.h"
#include "worker/blob_cache.h"
#include "worker/devices.h"
#include "worker/end_judge.h"
#include "worker/held_numbers.h"
#include "worker/held_processes.h"
#include "worker/launch.h"
#include "worker/nvml.h"
#include "worker/storage_probe.h"

namespace lorry {
namespace {

TEST_CASE("what --devices may say") {
  // text | slots | gpus
  const std::vector<std::tuple<const char*, int, bool>> good = {
      {"cpu:1", 1, false}, {"cpu:2,gpu:all", 2, true}, {"gpu:all", 0, true}};
  for (const auto& [text, slots, gpus] : good) {
    const auto request = ParseDeviceRequest(text);
    REQUIRE(request.ok());
    CHECK(request->cpu_slots == slots);
    CHECK(request->all_gpus == gpus);
  }
  CHECK(ParseDeviceRequest("")->cpu_slots >= 1);
  for (const char* text : {"cpu", "cpu:0", "cpu:-1", "cpu:2x", "cpu:99999", "gpu:2", "cpu:1,cpu:2", "cpu:1,", "tpu:all"}) {
    CAPTURE(text);
    CHECK(ParseDeviceRequest(text).error().code == ErrorCode::kUsage);
  }
}

TEST_CASE("GPUs are found through NVML, with their price book names, memory and faults") {
  const std::string library = test::TestProgram("libfake_nvml.so");
  ::setenv("FAKE_NVML", "NVIDIA H100 80GB HBM3|85899345920|0;NVIDIA A100-SXM4-80GB|85899345920|3;broken|0|0", 1);
  const auto devices = FindDevices({.cpu_slots = 1, .all_gpus = true}, WorkerId("w"), library);
  REQUIRE(devices.ok());
  REQUIRE(devices->size() == 4);
  CHECK((*devices)[0].id == DeviceId("w/cpu-0"));
  CHECK((*devices)[1].id == DeviceId("GPU-0"));
  CHECK((*devices)[1].kind == "H100-80GB-HBM3");
  CHECK((*devices)[1].memory == 85899345920u);
  CHECK((*devices)[1].fault.empty());
  CHECK((*devices)[2].fault == "3 uncorrected memory errors");
  CHECK((*devices)[3].fault.find("cannot be read") != std::string::npos);
  CHECK(FindDevices(*ParseDeviceRequest("cpu:1"), WorkerId("w"), library)->size() == 1);
  const size_t slots = ParseDeviceRequest("")->cpu_slots;
  CHECK(FindDevices(*ParseDeviceRequest(""), WorkerId("w"), library)->size() == slots + 3);
  ::unsetenv("FAKE_NVML");
  CHECK(FindDevices(*ParseDeviceRequest(""), WorkerId("w"), library)->size() == slots);
  CHECK(FindDevices(*ParseDeviceRequest("gpu:all"), WorkerId("w"), library).error().code == ErrorCode::kNotFound);
  CHECK(Nvml::Load(library).error().message == "the NVIDIA driver does not answer: Driver Not Loaded");
  CHECK(Nvml::Load("libno-such-library.so").error().code == ErrorCode::kNotFound);
  CHECK(GpuKind("NVIDIA GeForce RTX 4090") == "RTX-4090");
  CHECK(GpuKind("NVIDIA L4") == "L4");
  CHECK(GpuKind("") == "gpu");
}

TEST_CASE("why an attempt ended") {
  const ReportedFault fault{EndReason::kDataError, {}};
  struct Case {
    const char* name;
    EndEvidence evidence;
    EndReason reason;
  };
  const std::vector<Case> cases = {
      {"all done", {.processes = {{0, 0}}, .done = true}, EndReason::kDone},
      {"exit 0 without done", {.processes = {{0, 0}}}, EndReason::kRankCrash},
      {"a command needs no done", {.command = true, .processes = {{0, 0}}}, EndReason::kDone},
      {"done though it was asked to stop",
       {.processes = {{0, 0}}, .asked_to_stop = EndReason::kCancelled, .done = true},
       EndReason::kDone},
      {"a command that was told to end and says it went well",
       {.command = true, .processes = {{0, 0}}, .asked_to_stop = EndReason::kCancelled},
       EndReason::kCancelled},
      {"asked to stop", {.processes = {{3, 0}}, .asked_to_stop = EndReason::kCancelled}, EndReason::kCancelled},
      {"killed after the grace", {.processes = {{0, SIGKILL}}, .asked_to_stop = EndReason::kWalltime}, EndReason::kWalltime},
      {"a fault was said", {.processes = {{65, 0}}, .fault = fault}, EndReason::kDataError},
      {"out of memory by exit status", {.processes = {{12, 0}}}, EndReason::kOutOfMemory},
      {"spec error", {.processes = {{64, 0}}}, EndReason::kSpecError},
      {"internal", {.processes = {{70, 0}}}, EndReason::kInternal},
      {"storage", {.processes = {{74, 0}}}, EndReason::kStorage},
      {"own signal", {.processes = {{0, SIGSEGV}}}, EndReason::kRankCrash},
      {"mpirun tells of an own signal", {.processes = {{128 + SIGABRT, 0}}}, EndReason::kRankCrash},
      {"from outside", {.processes = {{0, SIGKILL}}}, EndReason::kRankLost},
      {"mpirun tells of a signal from outside", {.processes = {{128 + SIGKILL, 0}}}, EndReason::kRankLost},
      {"the kernel's want of memory", {.processes = {{0, SIGKILL}}, .out_of_memory_kills = true}, EndReason::kOutOfMemory},
      {"one crashed, we killed the other", {.processes = {{0, SIGKILL}, {0, SIGSEGV}}}, EndReason::kRankCrash},
      {"one refused, we killed the other", {.processes = {{0, SIGKILL}, {65, 0}}}, EndReason::kDataError},
      {"a command's own status", {.command = true, .processes = {{65, 0}}}, EndReason::kUserError},
      {"a command's own status above 128", {.command = true, .processes = {{137, 0}}}, EndReason::kUserError},
      {"a command ended from outside", {.command = true, .processes = {{0, SIGKILL}}}, EndReason::kRankLost},
      {"a command that nobody read from", {.command = true, .processes = {{0, SIGPIPE}}}, EndReason::kRankCrash},
      {"a command that ends with 3", {.command = true, .processes = {{3, 0}}}, EndReason::kUserError},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const EndVerdict verdict = JudgeEnd(c.evidence);
    CHECK(EndReasonName(verdict.reason) == EndReasonName(c.reason));
  }
}

TEST_CASE("ranks are started one by one or under one mpirun, each with its devices and its log") {
  RankLaunch launch{.program = "/p/lorry-batch",
                    .task_path = "/a/task.json",
                    .log_dir = "/a",
                    .ranks = 2,
                    .threads_per_lane = 3,
                    .gpus = {"G0", "G1", "G2", "G3"}};
  const auto each = PlanLaunch(launch);
  REQUIRE(each.size() == 2);
  CHECK(each[1].argv == std::vector<std::string>{"/p/lorry-batch", "--task", "/a/task.json"});
  CHECK(each[1].env.at("OMPI_COMM_WORLD_RANK") == "1");
  CHECK(each[1].env.at("CUDA_VISIBLE_DEVICES") == "G2,G3");
  CHECK(each[1].env.at("OMP_NUM_THREADS") == "3");
  CHECK(each[1].stdout_path == "/a/rank-1.log");
  launch.mpi = true;
  const auto all = PlanLaunch(launch);
  REQUIRE(all.size() == 1);
  CHECK(all[0].argv[0] == "mpirun");
  CHECK(all[0].env.at("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM") == "1");
  CHECK(all[0].env.at("CUDA_VISIBLE_DEVICES") == "G0,G1,G2,G3");
  launch.ranks = 1;
  CHECK(PlanLaunch(launch)[0].argv[0] == "/p/lorry-batch");
}

TEST_CASE("inputs are links to blobs under their names, made once") {
  TempDirectory home;
  REQUIRE(WriteFileAtomically(home.path() + "/a", "alpha").ok());
  REQUIRE(WriteFileAtomically(home.path() + "/b", "beta").ok());
  wire::BlobFile a = *StoreBlob(home.path(), home.path() + "/a");
  wire::BlobFile b = *StoreBlob(home.path(), home.path() + "/b");
  b.path = "sub/b.txt";
  const wire::Input model{.name = "base_model", .directory = true, .files = {a, b}};
  const wire::Input train{.name = "train", .directory = false, .files = {a}};
  const auto staged = StageInputs(home.path(), {model, train});
  REQUIRE(staged.ok());
  CHECK(*ReadFile(staged->at("base_model") + "/sub/b.txt") == "beta");
  CHECK(*ReadFile(staged->at("train")) == "alpha");
  CHECK(StageInputs(home.path(), {model})->at("base_model") == staged->at("base_model"));
  CHECK(ListDirectory(home.path() + "/cache/inputs")->size() == 2);

  wire::Input absent = train;
  absent.files[0].digest = Sha256Of("nothing");
  CHECK(MissingBlobs(home.path(), {model, absent, absent}).size() == 1);
  CHECK(StageInputs(home.path(), {absent}).error().code == ErrorCode::kNotFound);
  for (const char* path : {"../x", "/x", "a/../../x", ""}) {
    wire::Input leaving = train;
    leaving.files[0].path = path;
    CHECK(StageInputs(home.path(), {leaving}).error().code == ErrorCode::kData);
  }
}

TEST_CASE("an output is a file or a directory of files, as blobs") {
  TempDirectory home;
  REQUIRE(MakeDirectories(home.path() + "/out/sub").ok());
  REQUIRE(WriteFileAtomically(home.path() + "/out/z", "1").ok());
  REQUIRE(WriteFileAtomically(home.path() + "/out/sub/a", "2").ok());
  const auto output = StoreOutput(home.path(), "adapter", home.path() + "/out");
  REQUIRE(output.ok());
  REQUIRE(output->files.size() == 2);
  CHECK(output->directory);
  CHECK(output->files[0].path == "sub/a");
  CHECK(output->files[1].path == "z");
  CHECK(*ReadFile(BlobPath(home.path(), output->files[0].digest)) == "2");
  CHECK(StoreOutput(home.path(), "x", home.path() + "/none").error().code == ErrorCode::kNotFound);
}

TEST_CASE("leftovers of a killed worker are ended by pid and start time, and nothing else is") {
  TempDirectory home;
  SpawnOptions options{.argv = {"/bin/sleep", "1000"}, .die_with_parent = false};
  auto mine = ChildProcess::Start(options);
  auto other = ChildProcess::Start(options);
  REQUIRE((mine.ok() && other.ok()));
  {
    auto held = HeldProcesses::Open(home.path(), RunId("r-1"), AttemptNumber(1));
    REQUIRE(held.ok());
    held->Put(3, mine->pid());
    // As a killed worker leaves it: copied before the object removes its file.
    const std::string path = home.path() + "/worker/held/r-1-1";
    const std::string text = *ReadFile(path);
    REQUIRE(WriteFileAtomically(home.path() + "/worker/held/r-1-2", text).ok());
    // Another process of the same number: its start time is another.
    std::string impostor = text.substr(0, 64) + fmt::format("{:>10} {:>20}\n", other->pid(), 1);
    REQUIRE(WriteFileAtomically(home.path() + "/worker/held/r-1-3", impostor).ok());
  }
  const auto ended = HeldProcesses::EndLeftovers(home.path());
  REQUIRE(ended.ok());
  CHECK(*ended == 1);
  CHECK(mine->Wait()->signal == SIGKILL);
  CHECK(!other->Poll().has_value());
  CHECK(ListDirectory(home.path() + "/worker/held")->empty());
}

// As under an init that reaps at once: the program's entry in /proc is gone before the next worker looks.
TEST_CASE("what a command started is ended though the command itself died with its worker") {
  REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  TempDirectory home;
  const auto start = [&](const std::string& run) {
    SpawnOptions options{.argv = {"/bin/sh", "-c", "sleep 1000 & echo $! >" + home.path() + "/" + run + "; wait"}};
    options.env = {{"LORRY_RUN", run}, {"LORRY_ATTEMPT", "1"}};
    auto shell = ChildProcess::Start(options);
    REQUIRE(shell.ok());
    while (!FileExists(home.path() + "/" + run) || FileSize(home.path() + "/" + run)->count() == 0) ::usleep(1000);
    return std::move(*shell);
  };
  ChildProcess mine = start("r-1");
  ChildProcess other = start("r-2");  // of another run: as if the number of its group had once been one of r-1
  const auto sleeper = [&](const std::string& run) { return std::stoi(*ReadFile(home.path() + "/" + run)); };
  std::string text;
  {
    auto held = HeldProcesses::Open(home.path(), RunId("r-1"), AttemptNumber(1));
    REQUIRE(held.ok());
    held->Put(0, mine.pid());
    held->Put(1, other.pid());
    text = *ReadFile(home.path() + "/worker/held/r-1-1");
  }
  REQUIRE(WriteFileAtomically(home.path() + "/worker/held/r-1-1", text).ok());
  for (ChildProcess* shell : {&mine, &other}) {
    ::kill(shell->pid(), SIGKILL);
    shell->Wait();
  }
  REQUIRE(!ProcessStartTicks(mine.pid()).has_value());
  CHECK(*HeldProcesses::EndLeftovers(home.path()) == 1);
  CHECK(::waitpid(sleeper("r-1"), nullptr, WNOHANG) == sleeper("r-1"));
  CHECK(::waitpid(sleeper("r-2"), nullptr, WNOHANG) == 0);
  ::kill(sleeper("r-2"), SIGKILL);
  ::waitpid(sleeper("r-2"), nullptr, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_CASE("the storage is tried in the background now and then, and at once where it is doubted") {
  TempDirectory home;
  REQUIRE(MakeDirectories(home.path() + "/worker").ok());
  Background background;
  StorageProbe probe(home.path(), &background);
  CHECK(probe.problem().empty());
  REQUIRE(RemoveTree(home.path() + "/worker").ok());
  CHECK(probe.problem().empty());
  probe.Tick(10'000);
  while (probe.problem().empty()) background.RunFinished();
  REQUIRE(MakeDirectories(home.path() + "/worker").ok());
  probe.Tick(11'000);
  CHECK_FALSE(FileExists(home.path() + "/worker/probe"));
  probe.Doubt();
  probe.Tick(11'100);
  while (!probe.problem().empty()) background.RunFinished();
  CHECK(FileExists(home.path() + "/worker/probe"));
}

TEST_CASE("held numbers are told as ranges") {
  HeldNumbers held;
  held.Add({5, 3});
  held.Add({0, 2});
  held.Remove({6, 99});
  CHECK(held.Ranges() == std::vector<wire::Range>{{0, 2}, {5, 1}, {7, 1}});
}

}  // namespace
}  // namespace lorry
