#include "cli/run_text.h"

#include <optional>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/money.h"
#include "base/units.h"
#include "cli/answer_fields.h"
#include "cli/terminal.h"

namespace lorry {
namespace {

using nlohmann::json;

void AddReadable(const json& value, const std::string& indent, std::string& text) {
  const auto line = [&](const std::string& lead, const json& item) {
    if (item.is_structured() && !item.empty()) {
      text += lead + "\n";
      AddReadable(item, indent + "  ", text);
    } else {
      const std::string shown = item.is_string() ? EscapeControl(item.get<std::string>(), kLongestAnswerText) : item.dump();
      text += lead + " " + shown + "\n";
    }
  };
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) line(indent + key + ":", item);
  } else if (value.is_array()) {
    for (const auto& item : value) line(indent + "-", item);
  } else {
    text += indent + value.dump() + "\n";
  }
}

// "productive 12.0s, startup 0.4s": device time, so two devices for a second are two seconds.
std::string ClassTimes(const json& attempt) {
  std::string text;
  const auto times = attempt.find("class_ms");
  if (times == attempt.end() || !times->is_object()) return text;
  for (const auto& [name, millis] : times->items()) {
    if (!millis.is_number_integer()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, FormatDuration(Millis(millis.get<int64_t>())));
  }
  return text;
}

std::string Held(const json& attempt) {
  const auto from = ParseUtc(TextAt(attempt, "granted"));
  const auto to = ParseUtc(TextAt(attempt, "ended"));
  return from.ok() && to.ok() ? FormatDuration(*to - *from) : "still";
}

std::string AttemptTable(const json& run) {
  std::vector<std::vector<std::string>> table = {{"ATTEMPT", "WORKER", "DEVICES", "GRANTED", "HELD", "ENDED AS", "DEVICE TIME"}};
  for (const json& attempt : ListAt(run, "attempts")) {
    const std::string reason = TextAt(attempt, "reason");
    table.push_back({std::to_string(NumberAt(attempt, "attempt")), TextAt(attempt, "worker"),
                     std::to_string(ListAt(attempt, "devices").size()), TextAt(attempt, "granted"), Held(attempt),
                     reason.empty() ? "-" : reason, ClassTimes(attempt)});
  }
  return table.size() == 1 ? "" : "\n" + AlignColumns(table);
}

std::string FileTable(const json& run, const char* key, const char* head) {
  std::vector<std::vector<std::string>> table = {{head, "FILES", "SIZE", "SHA-256"}};
  for (const json& named : ListAt(run, key)) {
    const json files = ListAt(named, "files");
    int64_t size = 0;
    for (const json& file : files) size += NumberAt(file, "size");
    const std::string digest = files.size() == 1 ? TextAt(files[0], "digest") : "-";
    table.push_back({TextAt(named, "name"), std::to_string(files.size()), FormatSize(Bytes(size)), digest});
  }
  return table.size() == 1 ? "" : "\n" + AlignColumns(table);
}

std::string Head(const json& run) {
  const std::string reason = TextAt(run, "reason");
  std::string text = fmt::format("{}  {}\n", TextAt(run, "run"), TextAt(run, "name"));
  const auto line = [&](const char* name, const std::string& value) {
    if (!value.empty()) text += fmt::format("{:<11}{}\n", name, value);
  };
  line("state", TextAt(run, "state") + (reason.empty() ? "" : " (" + reason + ")"));
  line("detail", TextAt(run, "detail"));
  line("kind", TextAt(run, "kind"));
  line("project", TextAt(run, "project"));
  line("model", TextAt(run, "model"));
  line("submitted", TextAt(run, "submitted"));
  line("started", TextAt(run, "started"));
  line("ended", TextAt(run, "ended"));
  if (NumberAt(run, "total") > 0) line("done", fmt::format("{} of {}", NumberAt(run, "done"), NumberAt(run, "total")));
  if (NumberAt(run, "failed_elements") > 0) line("failed", fmt::format("{} elements", NumberAt(run, "failed_elements")));
  for (const json& before : ListAt(run, "after")) line("after", before.is_string() ? before.get<std::string>() : "");
  for (const json& checkpoint : ListAt(run, "checkpoints")) {
    line("checkpoint", fmt::format("step {}", NumberAt(checkpoint, "step")));
  }
  const auto result = run.find("result");
  if (result != run.end() && result->is_object()) line("published", TextAt(*result, "adapter"));
  return text;
}

// The line of a step, a held-out evaluation or a batch's progress.
std::string MetricsText(const json& metrics) {
  const auto number = [&](const char* key) {
    const auto found = metrics.find(key);
    return found != metrics.end() && found->is_number() ? std::optional<double>(found->get<double>()) : std::nullopt;
  };
  std::string text;
  if (const auto point = number("point")) text += fmt::format("point {:.0f}  ", *point);
  if (const auto loss = number("loss")) {
    text += fmt::format("{} {:.4f}  ", TextAt(metrics, "t") == "eval" ? "held-out loss" : "loss", *loss);
  }
  const auto tokens = number("tokens"), seconds = number("seconds");
  if (tokens && seconds && *seconds > 0) text += fmt::format("{:.0f} tokens/s  ", *tokens / *seconds);
  if (const auto rows = number("rows_per_minute")) text += fmt::format("{:.0f} rows/min  ", *rows);
  return text;
}

}  // namespace

std::string StandingText(const wire::RunSummary& run) {
  std::string text = run.run.str() + " " + run.state;
  const bool says_more = !run.reason.empty() && run.reason != run.state && run.reason != "done";
  if (says_more) text += " (" + run.reason + ")";
  return run.detail.empty() ? text : text + ": " + run.detail;
}

std::string LiveText(const wire::RunSummary& run) {
  std::string text;
  if (const Result<json> metrics = ParseJson(run.live_json); metrics.ok() && metrics->is_object()) text = MetricsText(*metrics);
  if (const Result<Dollars> usd = ParseDollars(run.usd); usd.ok()) text += "$" + ToRoundedString(*usd, 6);
  return text;
}

std::string StoppingText(int64_t running) {
  return running == 1 ? "1 run has not stopped yet" : fmt::format("{} runs have not stopped yet", running);
}

std::string ReadableJson(const json& document) {
  std::string text;
  AddReadable(document, "", text);
  return text;
}

std::string ShowText(const json& run) {
  std::string text = Head(run) + AttemptTable(run) + FileTable(run, "inputs", "INPUT") + FileTable(run, "outputs", "OUTPUT");
  if (const auto job = run.find("job"); job != run.end() && job->is_object()) {
    text += "\njob\n";
    AddReadable(*job, "  ", text);
  }
  return text;
}

std::string ExplainText(const json& explanation) {
  std::string text;
  for (const json& line : ListAt(explanation, "lines")) {
    if (line.is_string()) text += EscapeControl(line.get<std::string>(), kLongestAnswerText) + "\n";
  }
  return text.empty() ? "nothing stands against it\n" : text;
}

}  // namespace lorry
