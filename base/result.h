// Errors as values: every call of Lorry that can fail for a reason outside the program returns a Result<T> or a Status.
//
// An Error names the thing, where it stands (file, line, column, key), what was expected, and in `hint` what to do. Assertions
// are for what cannot happen; exceptions are caught at the edge of the folder whose library throws them (LibTorch, yaml-cpp,
// HDF5) and turned into an Error there. Values only: no ownership beyond the strings, safe to copy between threads.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace lorry {

enum class ErrorCode {
  kUsage,        // a command line that cannot be understood
  kSpec,         // a job or configuration file that is wrong
  kNotFound,     // a name, version, run or file that does not exist
  kNotAllowed,   // wrong key, token, role or file permission
  kUnreachable,  // no scheduler or worker answers
  kBudget,       // a budget or quota refuses
  kConflict,     // the state is not the one that the caller expected
  kData,         // bytes that are not what they should be: truncated, corrupt, of another version
  kStorage,      // disk full, input/output error
  kOutOfMemory,
  kTimeout,
  kUnsupported,  // known, and not in this version
  kInternal,     // Lorry's own fault
};

// The code's name in JSON and logs, e.g. "not_found".
const char* ErrorCodeName(ErrorCode code);
// The command line's exit status for an error of this code (design: 1 failed, 2 usage or spec, 3 unreachable, 4 not allowed,
// 5 not found, 6 budget).
int ExitStatusOf(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string hint;
  std::string file;
  int line = 0;    // 1-based; 0 where there is none
  int column = 0;  // 1-based; 0 where there is none
  std::string key;

  // "file:line:column: key: message; hint", each part only where it is known.
  std::string Format() const;
};

inline Error MakeError(ErrorCode code, std::string message, std::string hint = "") {
  return Error{code, std::move(message), std::move(hint), "", 0, 0, ""};
}
// The same error, with `what` and a colon put before its message: what was being done when it happened.
Error Because(const std::string& what, Error error);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() & {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  const Error& error() const& {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    assert(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  static Result Ok() { return {}; }

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  // REQUIRES: !ok().
  const Error& error() const& {
    assert(!ok());
    return *error_;
  }
  Error&& error() && {
    assert(!ok());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;
inline Status OkStatus() { return {}; }

}  // namespace lorry

#define LORRY_CONCAT_INNER(a, b) a##b
#define LORRY_CONCAT(a, b) LORRY_CONCAT_INNER(a, b)

// Evaluates a Status or Result; returns its error from the enclosing function where it failed.
#define LORRY_TRY(expr)                                   \
  do {                                                    \
    if (auto lorry_status = (expr); !lorry_status.ok()) { \
      return std::move(lorry_status).error();             \
    }                                                     \
  } while (false)

// LORRY_ASSIGN_OR_RETURN(auto x, F()): x is F()'s value, or the enclosing function returns F()'s error.
#define LORRY_ASSIGN_OR_RETURN(lhs, expr) LORRY_ASSIGN_OR_RETURN_INNER(LORRY_CONCAT(lorry_result_, __LINE__), lhs, expr)
#define LORRY_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return std::move(result).error();   \
  lhs = std::move(result).value()
