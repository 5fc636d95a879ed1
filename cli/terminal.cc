#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "configs/job_file.h"

namespace lorry {
namespace {

constexpr int kBarWidth = 30;

void Write(std::FILE* file, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

// Columns as they look: code points, not bytes.
size_t Width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

Terminal::Terminal(bool json) : json_(json), terminal_(isatty(STDERR_FILENO) == 1) {}

Terminal::~Terminal() { EndProgress(); }

void Terminal::Print(std::string_view text) {
  if (json_) return;
  EndProgress();
  Write(stdout, text);
}

void Terminal::PrintJson(const nlohmann::json& document) {
  if (!json_) return;
  EndProgress();
  Write(stdout, document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void Terminal::PrintRaw(std::string_view bytes) {
  EndProgress();
  Write(stdout, bytes);
}

void Terminal::Note(std::string_view line) {
  EndProgress();
  Write(stderr, fmt::format("{}\n", line));
}

void Terminal::PrintErrors(const std::vector<Error>& errors) {
  EndProgress();
  const std::string text = FormatErrors(errors);
  if (terminal_) {
    Write(stderr, "\x1b[31m" + text + "\x1b[0m");
  } else {
    Write(stderr, text);
  }
  if (!json_ || errors.empty()) return;
  nlohmann::json document = {{"error", ErrorJson(errors.front())}};
  if (errors.size() > 1) {
    for (const Error& error : errors) document["errors"].push_back(ErrorJson(error));
  }
  PrintJson(document);
}

void Terminal::Progress(std::string_view what, uint64_t done, uint64_t total, std::string_view extra) {
  const int tenth = total == 0 ? -1 : static_cast<int>(10 * std::min(done, total) / total);
  if (!terminal_) {
    if (what == last_what_ && tenth == last_tenth_) return;
    last_what_ = what;
    last_tenth_ = tenth;
    const std::string of = total == 0 ? std::string() : fmt::format(" {}/{}", done, total);
    Write(stderr, fmt::format("{}{}{}{}\n", what, of, extra.empty() ? "" : "  ", extra));
    return;
  }
  std::string bar;
  if (total > 0) {
    const int filled = static_cast<int>(kBarWidth * std::min(done, total) / total);
    for (int i = 0; i < kBarWidth; ++i) bar += i < filled ? "█" : "░";
    bar += fmt::format(" {}/{}", done, total);
  }
  Write(stderr, fmt::format("\r\x1b[2K{} {} {}", what, bar, extra));
  bar_ = true;
}

void Terminal::EndProgress() {
  if (bar_) Write(stderr, "\n");
  bar_ = false;
}

std::string AlignColumns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - Width(row[i]) + 2, ' ');
    }
    text += line + "\n";
  }
  return text;
}

nlohmann::json ErrorJson(const Error& error) {
  return {{"code", ErrorCodeName(error.code)},
          {"message", error.message},
          {"hint", error.hint},
          {"file", error.file},
          {"line", error.line},
          {"key", error.key}};
}

Error ErrorFromJson(const nlohmann::json& json) {
  Error error;
  const std::string code = json.value("code", "");
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {
    if (code == ErrorCodeName(static_cast<ErrorCode>(i))) error.code = static_cast<ErrorCode>(i);
  }
  error.message = json.value("message", "");
  error.hint = json.value("hint", "");
  error.file = json.value("file", "");
  error.line = json.value("line", 0);
  error.key = json.value("key", "");
  return error;
}

}  // namespace lorry
