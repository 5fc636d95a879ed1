#include "trainers/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/files.h"
#include "base/json.h"
#include "trainers/hdf5_image.h"

namespace lorry::trainers {
namespace {

constexpr int64_t kStateVersion = 1;
constexpr int64_t kSweepVersion = 1;
constexpr int64_t kLargestState = int64_t{256} << 30;
constexpr const char* kStateFile = "state.h5";
constexpr const char* kMarkerFile = "COMPLETE";
constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kUnfinishedPrefix = ".writing-";

std::optional<int64_t> StepOfName(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  name.remove_prefix(kStepPrefix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return step;
}

Status CheckReadsBack(const std::string& file, const Digest& digest) {
  LORRY_ASSIGN_OR_RETURN(const std::string read_back, ReadFile(file, kLargestState));
  if (Sha256Of(read_back) == digest) return OkStatus();
  return MakeError(ErrorCode::kStorage, file + ": reads back other bytes than were written");
}

std::string PointPath(size_t index) { return fmt::format("points/{:02}", index); }

Result<std::string> EncodeState(const SavedState& saved) {
  const TrainingState& state = saved.state;
  const int64_t numbers[] = {kStateVersion,          state.step,      state.cursor.epoch,
                             state.cursor.rows,      state.best.step, state.best.worse_since,
                             state.optimizer_updates};
  const double best_loss[] = {state.best.loss};
  Hdf5Builder image;
  LORRY_TRY(image.Add("numbers", std::span<const int64_t>(numbers)));
  LORRY_TRY(image.Add("best_loss", std::span<const double>(best_loss)));
  LORRY_TRY(image.Add("adapter", std::span<const float>(state.values)));
  LORRY_TRY(image.Add("optimizer/first_moment", std::span<const float>(state.first_moment)));
  LORRY_TRY(image.Add("optimizer/second_moment", std::span<const float>(state.second_moment)));
  LORRY_TRY(image.AddText("identity", saved.identity.ToJson()));
  return image.Finish();
}

Result<SavedState> DecodeState(const Hdf5Image& opened, const std::string& name) {
  const Hdf5Image* image = &opened;
  LORRY_ASSIGN_OR_RETURN(const std::vector<int64_t> numbers, image->Int64s("numbers"));
  LORRY_ASSIGN_OR_RETURN(const std::vector<double> best_loss, image->Doubles("best_loss"));
  if (numbers.size() != 7 || numbers[0] != kStateVersion || best_loss.size() != 1) {
    return MakeError(ErrorCode::kData, name + ": a checkpoint of another version");
  }
  SavedState saved;
  TrainingState& state = saved.state;
  state.step = numbers[1];
  state.cursor = {numbers[2], numbers[3]};
  state.best = {numbers[4], best_loss[0], numbers[5]};
  state.optimizer_updates = numbers[6];
  LORRY_ASSIGN_OR_RETURN(state.values, image->Floats("adapter"));
  LORRY_ASSIGN_OR_RETURN(state.first_moment, image->Floats("optimizer/first_moment"));
  LORRY_ASSIGN_OR_RETURN(state.second_moment, image->Floats("optimizer/second_moment"));
  if (state.first_moment.size() != state.values.size() || state.second_moment.size() != state.values.size()) {
    return MakeError(ErrorCode::kData, name + ": adapter and optimizer have different lengths");
  }
  LORRY_ASSIGN_OR_RETURN(const std::string text, image->Text("identity"));
  LORRY_ASSIGN_OR_RETURN(saved.identity, RunIdentity::FromJson(text));
  return saved;
}

}  // namespace

Result<std::string> EncodeStates(const std::vector<SavedState>& states) {
  if (states.size() == 1) return EncodeState(states.front());
  Hdf5Builder image;
  const int64_t sweep[] = {kSweepVersion, static_cast<int64_t>(states.size())};
  LORRY_TRY(image.Add("sweep", std::span<const int64_t>(sweep)));
  for (size_t i = 0; i < states.size(); ++i) {
    LORRY_ASSIGN_OR_RETURN(const std::string bytes, EncodeState(states[i]));
    LORRY_TRY(image.Add(PointPath(i), std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())));
  }
  return image.Finish();
}

Result<std::vector<SavedState>> DecodeStates(std::string_view bytes, const std::string& name) {
  LORRY_ASSIGN_OR_RETURN(const auto image, Hdf5Image::Open(bytes, name));
  std::vector<SavedState> states;
  const Result<std::vector<int64_t>> sweep = image->Int64s("sweep");
  if (!sweep.ok()) {  // of one training
    LORRY_ASSIGN_OR_RETURN(states.emplace_back(), DecodeState(*image, name));
    return states;
  }
  if (sweep->size() != 2 || sweep->front() != kSweepVersion || sweep->back() < 2) {
    return MakeError(ErrorCode::kData, name + ": a checkpoint of another version");
  }
  for (int64_t i = 0; i < sweep->back(); ++i) {
    const std::string path = PointPath(static_cast<size_t>(i));
    LORRY_ASSIGN_OR_RETURN(const std::vector<uint8_t> inner, image->Bytes(path));
    const std::string_view inner_bytes(reinterpret_cast<const char*>(inner.data()), inner.size());
    LORRY_ASSIGN_OR_RETURN(const auto inner_image, Hdf5Image::Open(inner_bytes, name + ": " + path));
    LORRY_ASSIGN_OR_RETURN(states.emplace_back(), DecodeState(*inner_image, name + ": " + path));
  }
  return states;
}

std::string CheckpointStore::RelativePath(int64_t step) { return fmt::format("checkpoints/{}{:08}", kStepPrefix, step); }

Result<WrittenCheckpoint> CheckpointStore::Write(std::vector<SavedState> states) {
  int64_t step = 0;
  for (const SavedState& saved : states) step = std::max(step, saved.state.step);
  LORRY_ASSIGN_OR_RETURN(const std::string bytes, EncodeStates(states));
  states = {};
  const Digest digest = Sha256Of(bytes);
  const std::string folder = run_dir_ + "/checkpoints";
  const std::string unfinished = fmt::format("{}/{}{:08}", folder, kUnfinishedPrefix, step);
  const std::string place = run_dir_ + "/" + RelativePath(step);
  LORRY_TRY(RemoveTree(unfinished));
  LORRY_TRY(MakeDirectories(unfinished));
  const auto write = [&]() -> Status {
    LORRY_TRY(WriteFileAtomically(unfinished + "/" + kStateFile, bytes));
    LORRY_TRY(CheckReadsBack(unfinished + "/" + kStateFile, digest));
    LORRY_TRY(DecodeStates(bytes, unfinished));
    LORRY_TRY(RemoveTree(place));
    LORRY_TRY(RenameDurably(unfinished, place));
    const nlohmann::json marker = {{"step", step}, {"bytes", bytes.size()}, {"sha256", digest.hex()}};
    return WriteFileAtomically(place + "/" + kMarkerFile, marker.dump() + "\n");
  };
  if (Status status = write(); !status.ok()) {
    (void)RemoveTree(unfinished);
    return status.error();
  }
  return WrittenCheckpoint{step, RelativePath(step), digest};
}

Result<std::string> CheckpointStore::Read(int64_t step) const {
  const std::string place = run_dir_ + "/" + RelativePath(step);
  LORRY_ASSIGN_OR_RETURN(const std::string marker_text, ReadFile(place + "/" + kMarkerFile, 1 << 16));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json marker, ParseJson(marker_text));
  LORRY_ASSIGN_OR_RETURN(std::string bytes, ReadFile(place + "/" + kStateFile, kLargestState));
  if (!marker.is_object() || marker.value("sha256", std::string()) != Sha256Of(bytes).hex()) {
    return MakeError(ErrorCode::kData, RelativePath(step) + ": the state does not have the digest that its marker says");
  }
  return bytes;
}

Result<std::vector<int64_t>> CheckpointStore::Steps() const {
  const std::string folder = run_dir_ + "/checkpoints";
  std::vector<int64_t> steps;
  if (!FileExists(folder)) return steps;
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  for (const std::string& name : names) {
    const std::optional<int64_t> step = StepOfName(name);
    if (step && FileExists(folder + "/" + name + "/" + kMarkerFile)) steps.push_back(*step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

Status CheckpointStore::RemoveAllBut(const std::set<int64_t>& keep) const {
  const std::string folder = run_dir_ + "/checkpoints";
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  for (const std::string& name : names) {
    const std::optional<int64_t> step = StepOfName(name);
    const bool unfinished = name.starts_with(kUnfinishedPrefix);
    if (unfinished || (step && !keep.contains(*step))) {
      // The marker goes first: what is half removed is no checkpoint.
      LORRY_TRY(RemoveTree(folder + "/" + name + "/" + kMarkerFile));
      LORRY_TRY(RemoveTree(folder + "/" + name));
    }
  }
  return OkStatus();
}

Result<std::optional<ResumePoint>> FindResumePoint(const CheckpointStore& store, const std::string& wanted,
                                                   const std::vector<RunIdentity>& identities, bool other_device,
                                                   const std::function<void(const std::string&)>& say) {
  LORRY_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, store.Steps());
  for (const int64_t step : steps) {
    // Step numbers have eight digits, so paths compare as steps do.
    if (!wanted.empty() && CheckpointStore::RelativePath(step) > wanted) continue;
    Result<std::string> bytes = store.Read(step);
    Result<std::vector<SavedState>> states =
        bytes.ok() ? DecodeStates(*bytes, CheckpointStore::RelativePath(step)) : bytes.error();
    if (!states.ok()) {
      say("passed over " + CheckpointStore::RelativePath(step) + ": " + states.error().Format());
      continue;
    }
    if (states->size() != identities.size()) {
      return MakeError(ErrorCode::kSpec, fmt::format("{} is of another job: it holds {} trainings, this job is of {}",
                                                     CheckpointStore::RelativePath(step), states->size(), identities.size()));
    }
    for (size_t i = 0; i < states->size(); ++i) LORRY_TRY(MayContinue((*states)[i].identity, identities[i], other_device));
    return std::optional<ResumePoint>(ResumePoint{std::move(*states), std::move(*bytes)});
  }
  return std::optional<ResumePoint>();
}

}  // namespace lorry::trainers
