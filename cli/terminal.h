// What a command says: people's text or one JSON document on standard output, progress and notes on standard error. Colours and
// progress bars only where standard error is a terminal. One thread at a time.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry {

class Terminal {
 public:
  // `json`: people's text is left out, and PrintJson says everything.
  explicit Terminal(bool json);
  ~Terminal();

  bool json() const { return json_; }

  // To standard output, as it is; nothing with --json.
  void Print(std::string_view text);
  // The one JSON document of a command, with --json; nothing without.
  void PrintJson(const nlohmann::json& document);
  // To standard output in either mode: bytes that were asked for (logs, rows).
  void PrintRaw(std::string_view bytes);
  // A line on standard error.
  void Note(std::string_view line);
  // Each error as a line on standard error; with --json also {error, errors} on standard output.
  void PrintErrors(const std::vector<Error>& errors);

  // A bar on a terminal; elsewhere a line each time another tenth is done. `total` 0: not known. `extra` stands behind it.
  void Progress(std::string_view what, uint64_t done, uint64_t total, std::string_view extra = "");
  // Takes the bar away, so that what follows begins on its own line.
  void EndProgress();

 private:
  bool json_;
  bool terminal_;     // standard error is one
  bool bar_ = false;  // a bar stands on the last line
  std::string last_what_;
  int last_tenth_ = -1;
};

// A table with aligned columns, two blanks apart; the first row is the head.
std::string AlignColumns(const std::vector<std::vector<std::string>>& rows);

// {code, message, hint, file, line, key} of `lorry --json`.
nlohmann::json ErrorJson(const Error& error);
// Back from it; kInternal where it names no code.
Error ErrorFromJson(const nlohmann::json& error);

}  // namespace lorry
