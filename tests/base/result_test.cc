#include "base/result.h"

#include <catch2/catch.hpp>
#include <memory>

using namespace lorry;

namespace {

Result<std::unique_ptr<int>> Half(int n) {
  if (n % 2 != 0) return MakeError(ErrorCode::kData, "odd");
  return std::make_unique<int>(n / 2);
}
Result<int> Quarter(int n) {
  LORRY_ASSIGN_OR_RETURN(const auto half, Half(n));
  LORRY_ASSIGN_OR_RETURN(const auto quarter, Half(*half));
  return *quarter;
}
Status IsFour(int n) {
  LORRY_TRY(Quarter(n));
  return n == 4 ? OkStatus() : Status(MakeError(ErrorCode::kConflict, "not four"));
}

}  // namespace

TEST_CASE("results carry a value or an error through") {
  CHECK(*Quarter(12) == 3);
  CHECK(Quarter(6).error().message == "odd");
  CHECK(IsFour(4).ok());
  CHECK(IsFour(8).error().code == ErrorCode::kConflict);
  CHECK(IsFour(3).error().code == ErrorCode::kData);
}

TEST_CASE("an error's text names the thing, the place, and what to do") {
  Error error = MakeError(ErrorCode::kSpec, "unknown key", "did you mean \"learning_rate\"?");
  CHECK(error.Format() == "unknown key; did you mean \"learning_rate\"?");
  error.file = "job.yaml";
  error.line = 14;
  error.column = 3;
  error.key = "training.learing_rate";
  CHECK(error.Format() == "job.yaml:14:3: training.learing_rate: unknown key; did you mean \"learning_rate\"?");
  CHECK(Because("reading", MakeError(ErrorCode::kData, "cut short")).message == "reading: cut short");
}

TEST_CASE("exit statuses are the documented ones") {
  CHECK(ExitStatusOf(ErrorCode::kSpec) == 2);
  CHECK(ExitStatusOf(ErrorCode::kUnsupported) == 2);
  CHECK(ExitStatusOf(ErrorCode::kUnreachable) == 3);
  CHECK(ExitStatusOf(ErrorCode::kNotAllowed) == 4);
  CHECK(ExitStatusOf(ErrorCode::kNotFound) == 5);
  CHECK(ExitStatusOf(ErrorCode::kBudget) == 6);
  CHECK(ExitStatusOf(ErrorCode::kInternal) == 1);
}
