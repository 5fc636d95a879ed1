#include "configs/job_reader.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/text.h"
#include "configs/features.h"
#include "configs/job_checks.h"
#include "configs/job_fields.h"

namespace lorry {
namespace {

constexpr std::array<std::string_view, 5> kKinds = {"finetune", "batch", "command", "evaluate", "pipeline"};

// The body of the kind that the job names, or nullopt after saying what is wrong with the key.
std::optional<JobBody> BodyOfKind(const YamlNode& root, ReadContext& context) {
  const YamlMember* member = root.Find("kind");
  if (member == nullptr) {
    context.FailAt("kind", "missing", fmt::format("one of {}", fmt::join(kKinds, " | ")));
    return std::nullopt;
  }
  const YamlNode& value = *member->value;
  if (value.refused) return std::nullopt;
  const auto found = std::find(kKinds.begin(), kKinds.end(), value.text);
  if (value.kind != YamlNode::Kind::kText || found == kKinds.end()) {
    const auto near = NearestName(value.text, {kKinds.begin(), kKinds.end()});
    context.Fail("kind", value.at, value.origin,
                 fmt::format("\"{}\" is none of {}", EscapeControl(value.text, 60), fmt::join(kKinds, " | ")),
                 near ? fmt::format("did you mean \"{}\"?", *near) : "");
    return std::nullopt;
  }
  if (!IsBuilt(fmt::format("kind {}", *found))) {
    context.FailUnbuilt("kind", value.at, value.origin, fmt::format("\"{}\" is known, but not carried out yet", *found));
    return std::nullopt;
  }
  switch (found - kKinds.begin()) {
    case 0:
      return FinetuneSpec{};
    case 1:
      return BatchSpec{};
    case 2:
      return CommandSpec{};
    default:
      return EvaluateSpec{};
  }
}

}  // namespace

std::optional<JobSpec> ReadJob(const YamlNode& root, ReadContext& context) {
  if (root.kind != YamlNode::Kind::kMap) {
    context.Fail("", root.at, root.origin, fmt::format("expected a mapping of keys, found {}", KindName(root.kind)),
                 "a job begins with kind: finetune");
    return std::nullopt;
  }
  std::optional<JobBody> body = BodyOfKind(root, context);
  if (!body) return std::nullopt;
  JobSpec job;
  job.body = std::move(*body);
  {
    JobSpec blank = job;
    KeyLister lister(context.all_keys);
    Describe(lister, blank);
  }
  FieldReader reader(context, &root, "", context.from_json ? SourcePosition{} : SourcePosition{1, 1});
  Describe(reader, job);
  reader.Finish();
  CheckAndResolve(job, context);
  if (!context.errors.empty()) return std::nullopt;
  return job;
}

}  // namespace lorry
