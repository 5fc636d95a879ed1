#include "cli/input_checks.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/model_source.h"
#include "model/format/batch_request.h"
#include "model/format/model_directory.h"
#include "model/format/rows.h"
#include "model/format/tokenize_report.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxRowErrors = 20;         // listed for each file
constexpr int64_t kMaxCountedRows = 100'000;  // tokens of the rows beyond are estimated from these
constexpr int64_t kProgressEvery = 1'000;

// A finding of another folder as one of the job: it keeps its own file and line where it has them.
Error AsSpecError(const ParsedJob& job, const std::string& key, const Error& found) {
  if (found.line > 0) {
    Error error = found;
    error.code = ErrorCode::kSpec;
    return error;
  }
  const bool names_file = found.file.empty() || found.message.find(found.file) != std::string::npos;
  return job.ErrorAt(key, ErrorCode::kSpec, names_file ? found.message : found.file + ": " + found.message, found.hint);
}

class InputCheck {
 public:
  InputCheck(const ParsedJob& job, Session& session) : job_(job), session_(session) {}

  CheckedInputs Run() {
    if (const FinetuneSpec* finetune = job_.spec->finetune()) CheckFinetune(*finetune);
    if (const BatchSpec* batch = job_.spec->batch()) CheckBatch(*batch);
    if (const CommandSpec* command = job_.spec->command()) CheckCommand(*command);
    CheckDevices();
    return std::move(checked_);
  }

 private:
  void Fail(const std::string& key, const Error& found) { checked_.errors.push_back(AsSpecError(job_, key, found)); }
  void Fail(const std::string& key, std::string message, std::string hint = "") {
    checked_.errors.push_back(job_.ErrorAt(key, ErrorCode::kSpec, std::move(message), std::move(hint)));
  }
  void Note(std::string line) { checked_.facts.notes.push_back(std::move(line)); }

  // The files of a model or adapter; nullopt after saying why not.
  std::optional<LocalModel> Locate(const std::string& key, const std::string& reference) {
    Result<LocalModel> model = FindModel(session_, reference, ModelPart::kHeaders);
    if (model.ok()) return std::move(*model);
    if (model.error().code == ErrorCode::kUnreachable) {
      Note(fmt::format("{}: not checked, since no scheduler answers for {}", key, reference));
    } else {
      Fail(key, model.error());
    }
    return std::nullopt;
  }

  std::optional<LocalModel> CheckModel(const std::string& key, const std::string& reference) {
    std::error_code ignored;
    if (fs::is_regular_file(reference, ignored)) {
      Fail(key, reference + " is a file; a model directory or a registry name is expected",
           fmt::format("lorry model import {} --name ORG/NAME", reference));
      return std::nullopt;
    }
    std::optional<LocalModel> model = Locate(key, reference);
    if (!model) return std::nullopt;
    // What is no model at all has a better reason below.
    if (const Status kind = CheckKind(*model, reference, ItemKind::kModel);
        !kind.ok() && kind.error().code == ErrorCode::kUsage) {
      Fail(key, kind.error());
      return std::nullopt;
    }
    Result<ModelDirectory> directory = ModelDirectory::Open(model->path);
    if (!directory.ok()) {
      Fail(key, directory.error());
      return std::nullopt;
    }
    checked_.facts.model = directory->config();
    if (!model->digest.empty()) checked_.facts.model_version = model->reference;
    checked_.facts.model_bytes = directory->WeightBytes();
    return model;
  }

  void CheckTargets(const AdapterSpec& adapter) {
    if (adapter.target_modules == std::vector<std::string>{"all-linear"}) return;
    std::set<std::string> names;
    const std::vector<ExpectedTensor> modules = LinearModules(*checked_.facts.model);
    for (const ExpectedTensor& module : modules) names.insert(module.name.substr(module.name.rfind('.') + 1));
    for (size_t i = 0; i < adapter.target_modules.size(); ++i) {
      const std::string& target = adapter.target_modules[i];
      const bool matches = std::any_of(modules.begin(), modules.end(), [&](const ExpectedTensor& module) {
        return module.name == target || module.name.ends_with("." + target);
      });
      if (!matches) {
        const auto near = NearestName(target, {names.begin(), names.end()});
        Fail(fmt::format("adapter.target_modules[{}]", i),
             fmt::format("\"{}\" matches no linear layer of the model", EscapeControl(target, 60)),
             near ? fmt::format("did you mean \"{}\"?", *near) : fmt::format("there are {}", fmt::join(names, ", ")));
      }
    }
  }

  // What a mixture of experts has not in this version; the run would end with the same words.
  void CheckExperts(const FinetuneSpec& job) {
    const ModelConfig& model = *checked_.facts.model;
    if (model.experts == 0) return;
    if (model.router_jitter > 0) {
      Fail("base_model", "training with router_jitter_noise above 0 is not in this version",
           "set it to 0 in the base model's config.json");
    }
    if (!job.adapter.dora && !job.adapter.rslora) return;
    const std::set<std::string> attention = {"q_proj", "k_proj", "v_proj", "o_proj"};
    for (const std::string& target : job.adapter.target_modules) {
      if (attention.contains(target.substr(target.rfind('.') + 1))) continue;
      return Fail(job.adapter.dora ? "adapter.dora" : "adapter.rslora", "not on experts and routers",
                  fmt::format("target_modules: [{}]", fmt::join(attention, ", ")));
    }
  }

  void CheckDevices() {
    if (!checked_.facts.model || checked_.facts.model->experts == 0 || !job_.spec->resources.gpus) return;
    Fail("resources.gpus", "a mixture of experts on GPUs is not in this version", "use cpus");
  }

  // An adapter of PEFT fits a base when each of its matrices has the shape of the layer it is for.
  void CheckAdapterFits(const std::string& key, const std::string& directory) {
    const Result<SafetensorsFile> weights = SafetensorsFile::Open(directory + "/adapter_model.safetensors");
    if (!weights.ok()) return Fail(key, weights.error());
    for (const TensorView& tensor : weights->tensors()) {
      checked_.facts.adapter_parameters += static_cast<int64_t>(tensor.ElementCount());
    }
    if (!checked_.facts.model) return;
    std::map<std::string, std::vector<int64_t>> layers;
    for (const ExpectedTensor& module : LinearModules(*checked_.facts.model)) layers[module.name] = module.shape;
    for (const ExpectedTensor& module : FusedModules(*checked_.facts.model)) layers[module.name] = module.shape;
    for (const TensorView& tensor : weights->tensors()) {
      const bool is_a = tensor.name.find(".lora_A.") != std::string::npos;
      const size_t at = tensor.name.find(is_a ? ".lora_A." : ".lora_B.");
      constexpr std::string_view kPrefix = "base_model.model.";
      if (at == std::string::npos || !tensor.name.starts_with(kPrefix) || tensor.shape.size() != 2) continue;
      const std::string layer = tensor.name.substr(kPrefix.size(), at - kPrefix.size());
      const auto found = layers.find(layer);
      const bool fits =
          found != layers.end() && (is_a ? tensor.shape[1] == found->second[1] : tensor.shape[0] == found->second[0]);
      if (!fits) {
        const std::string base =
            found == layers.end() ? "has no such layer" : fmt::format("has [{}] there", fmt::join(found->second, ", "));
        return Fail(key,
                    fmt::format("the adapter is for another base: its {} is [{}], and the model {}", tensor.name,
                                fmt::join(tensor.shape, ", "), base),
                    "use the base that the adapter was trained on");
      }
    }
  }

  // Rows are read here, and again when they are sent: a pipe has them once, and a device may never end.
  bool MayHaveRows(const std::string& key, const std::string& path) {
    std::error_code ignored;
    const fs::file_type type = fs::status(path, ignored).type();
    const bool is_device = type == fs::file_type::character || type == fs::file_type::block;
    if (!is_device && type != fs::file_type::fifo && type != fs::file_type::socket) return true;
    Fail(key, fmt::format("{} is a {}; a file is expected", path, is_device ? "device" : "pipe"), "write its rows into a file");
    return false;
  }

  // Every row of a training file; counts tokens where `report` is there.
  int64_t CheckTrainFile(const std::string& key, const std::string& path, const FinetuneSpec& job, const TokenizeReport* report,
                         bool count) {
    if (!MayHaveRows(key, path)) return 0;
    Result<LineReader> lines = LineReader::Open(path);
    if (!lines.ok()) {
      Fail(key, lines.error());
      return 0;
    }
    const EncodeRowOptions options = {.loss_on = static_cast<LossOn>(job.dataset.loss_on),
                                      .too_long = static_cast<TooLong>(job.dataset.too_long),
                                      .max_length = job.dataset.max_length,
                                      .file = path};
    std::optional<TrainForm> form;
    int64_t faults = 0;
    int64_t rows = 0;
    auto fault = [&](const Error& error) {
      if (++faults <= kMaxRowErrors) Fail(key, error);
    };
    while (faults <= kMaxRowErrors) {
      Result<std::optional<TextLine>> line = lines->Next();
      if (!line.ok()) {
        fault(line.error());
        continue;
      }
      if (!*line) break;
      ++rows;
      const Result<TrainRow> row = ParseTrainRow((*line)->text, path, (*line)->number);
      if (!row.ok()) {
        fault(row.error());
        continue;
      }
      if (form && row->form != *form) {
        Error mixed = MakeError(ErrorCode::kData, "another row form than the rows before",
                                "a file holds one of messages, prompt + completion, text");
        mixed.file = path;
        mixed.line = static_cast<int>((*line)->number);
        fault(mixed);
      }
      form = row->form;
      if (report == nullptr || rows > kMaxCountedRows) continue;
      const Result<TokenizedLine> tokens = report->Tokenize((*line)->text, path, (*line)->number, /*chat=*/false, options);
      if (!tokens.ok()) {
        fault(tokens.error());
        continue;
      }
      if (rows % kProgressEvery == 0) session_.terminal().Progress("checking rows of " + path, static_cast<uint64_t>(rows), 0);
      if (!count) continue;
      ++checked_.facts.counted_rows;
      checked_.facts.tokens += static_cast<int64_t>(tokens->ids.size());
      checked_.facts.loss_tokens += std::count(tokens->loss_mask.begin(), tokens->loss_mask.end(), 1);
    }
    session_.terminal().EndProgress();
    if (faults > kMaxRowErrors) {
      Note(fmt::format("{}: more than {} faulty rows; the rest of the file was not read", path, kMaxRowErrors));
    }
    if (rows == 0 && faults == 0) {
      Fail(key, fmt::format("{} has no rows", path), "each line is a JSON object with messages, prompt + completion, or text");
    }
    return rows;
  }

  void CheckFinetune(const FinetuneSpec& job) {
    const std::optional<LocalModel> model = CheckModel("base_model", job.base_model);
    std::optional<TokenizeReport> report;
    if (model) {
      Result<TokenizeReport> opened = TokenizeReport::ForModel(model->path);
      if (opened.ok()) {
        report.emplace(std::move(*opened));
      } else {
        Fail("base_model", opened.error());
      }
      CheckTargets(job.adapter);
      CheckExperts(job);
      if (checked_.facts.model->max_positions < job.dataset.max_length) {
        Fail("dataset.max_length", fmt::format("{} is over the model's context of {} tokens", job.dataset.max_length,
                                               checked_.facts.model->max_positions));
        report.reset();
      }
    }
    if (job.adapter.init_from) CheckAdapterFits("adapter.init_from", *job.adapter.init_from);
    InputFacts& facts = checked_.facts;
    facts.rows = CheckTrainFile("dataset.path", job.dataset.path, job, report ? &*report : nullptr, true);
    if (job.dataset.validation) {
      facts.validation_rows =
          CheckTrainFile("dataset.validation", *job.dataset.validation, job, report ? &*report : nullptr, false);
    }
    if (job.dataset.val_fraction) {
      facts.validation_rows = static_cast<int64_t>(static_cast<double>(facts.rows) * *job.dataset.val_fraction);
    }
  }

  void CheckBatchAdapter(const LocalModel& adapter, const std::string& given, const std::optional<LocalModel>& model) {
    Status usable = CheckKind(adapter, given, ItemKind::kAdapter);
    if (usable.ok() && model) usable = CheckTrainedOn(session_, adapter, *model);
    if (!usable.ok()) return Fail("adapter", usable.error());
    CheckAdapterFits("adapter", adapter.path);
  }

  void CheckBatch(const BatchSpec& job) {
    const std::optional<LocalModel> model = CheckModel("model", job.model);
    if (job.adapter) {
      if (const auto adapter = Locate("adapter", *job.adapter)) CheckBatchAdapter(*adapter, *job.adapter, model);
    }
    CheckWritable("output", job.output);
    if (job.prompt) {
      const Result<ChatTemplate> prompt = ChatTemplate::Parse(*job.prompt, "prompt");
      if (!prompt.ok()) return Fail("prompt", prompt.error().message, prompt.error().hint);
    }
    if (!MayHaveRows("input", job.input)) return;
    Result<BatchRowReader> reader = BatchRowReader::Open(job.input, job.prompt.value_or(""));
    if (!reader.ok()) return Fail("input", reader.error());
    std::optional<TokenizeReport> report;
    if (model) {
      Result<TokenizeReport> opened = TokenizeReport::ForModel(model->path);
      if (!opened.ok()) return Fail("model", opened.error());
      report.emplace(std::move(*opened));
    }
    CheckBatchRows(job, *reader, report ? &*report : nullptr);
  }

  // A row's fault is that row's error; only `validation: strict` makes it the job's.
  void CheckBatchRows(const BatchSpec& job, BatchRowReader& reader, const TokenizeReport* report) {
    const SamplingSpec& sampling = job.sampling;
    const BatchRules rules{{.max_tokens = sampling.max_tokens,
                            .temperature = sampling.temperature,
                            .top_p = sampling.top_p,
                            .seed = static_cast<uint64_t>(sampling.seed),
                            .stop = sampling.stop},
                           job.ModelNames()};
    const bool strict = job.validation == RowValidation::kStrict;
    InputFacts& facts = checked_.facts;
    while (!strict || facts.faulty_rows < kMaxRowErrors) {
      const Result<std::optional<BatchRow>> row = reader.Next();
      if (!row.ok()) return Fail("input", row.error());
      if (!*row) break;
      ++facts.rows;
      const bool encoded = report != nullptr && (strict || facts.rows <= kMaxCountedRows);
      if (const Status sound = CheckBatchRow(**row, rules, encoded ? report : nullptr); !sound.ok()) {
        if (++facts.faulty_rows == 1 && !strict) {
          Note("the first faulty row: " + FaultOfJob(sound.error(), job.input, (*row)->line).Format());
        }
        if (strict) Fail("input", FaultOfJob(sound.error(), job.input, (*row)->line));
      }
      if (facts.rows % kProgressEvery == 0) {
        session_.terminal().Progress("checking rows of " + job.input, static_cast<uint64_t>(facts.rows), 0);
      }
    }
    session_.terminal().EndProgress();
    if (strict && facts.faulty_rows == kMaxRowErrors) {
      Note(fmt::format("{}: no more than {} faulty rows are listed", job.input, kMaxRowErrors));
    } else if (!strict && report != nullptr && facts.rows > kMaxCountedRows) {
      Note(fmt::format("{}: prompts were encoded up to row {}; those beyond are not known to fit the model's context", job.input,
                       kMaxCountedRows));
    }
  }

  // As the rank will look at the row; its prompt only where `report` is there.
  Status CheckBatchRow(const BatchRow& row, const BatchRules& rules, const TokenizeReport* report) {
    LORRY_ASSIGN_OR_RETURN(const BatchRequest request, ReadBatchRequest(row, rules));
    if (report == nullptr) return OkStatus();
    InputFacts& facts = checked_.facts;
    const int64_t context = facts.model->GenerationPositions();
    LORRY_ASSIGN_OR_RETURN(const EncodedPrompt prompt, EncodeBatchPrompt(row, report->tokenizer(), report->chat_template(), {}));
    LORRY_TRY(CheckPrompt(prompt.ids, context, facts.model->vocab_size));
    const auto tokens = static_cast<int64_t>(prompt.ids.size());
    ++facts.counted_rows;
    facts.tokens += tokens;
    facts.answer_tokens += std::min(request.sampling.max_tokens, context - tokens);
    return OkStatus();
  }

  void CheckWritable(const std::string& key, const std::string& path) {
    if (session_.is_remote()) return;
    std::error_code ignored;
    if (fs::exists(path, ignored) && !fs::is_directory(path, ignored)) {
      return Fail(key, path + " is a file; a folder is expected");
    }
    fs::path place = path;
    while (!fs::exists(place, ignored) && place.has_parent_path() && place != place.parent_path()) place = place.parent_path();
    if (!fs::is_directory(place, ignored)) return Fail(key, place.string() + " is a file; a folder is expected");
    if (access(place.c_str(), W_OK | X_OK) != 0) {
      Fail(key, fmt::format("no permission to write in {}", place.string()), "name a folder of your own");
    }
  }

  void CheckCommand(const CommandSpec& job) {
    const std::string& program = job.argv[0];
    if (job.IsNoOp() || session_.is_remote() || program.find('/') == std::string::npos) return;
    if (!FileExists(program)) return Fail("argv[0]", program + " does not exist");
    if (access(program.c_str(), X_OK) != 0) {
      Fail("argv[0]", program + " is not executable", "chmod +x it, or name the interpreter first");
    }
  }

  const ParsedJob& job_;
  Session& session_;
  CheckedInputs checked_;
};

}  // namespace

CheckedInputs CheckInputs(const ParsedJob& job, Session& session) { return InputCheck(job, session).Run(); }

}  // namespace lorry
