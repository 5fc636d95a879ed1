#include "configs/cluster_config.h"

#include <array>
#include <filesystem>

#include "base/files.h"
#include "configs/field_reader.h"
#include "configs/job_file.h"

namespace lorry {

template <class V>
void Describe(V& v, TlsFiles& tls) {
  v.Field("cert", tls.cert, {.required = true, .form = TextForm::kPath});
  v.Field("key", tls.key, {.required = true, .form = TextForm::kPath});
}

template <class V>
void Describe(V& v, ClusterConfig& cluster) {
  v.Field("http_port", cluster.http_port, {.min = 1, .max = 65535});
  v.Field("client_port", cluster.client_port, {.min = 1, .max = 65535});
  v.Field("worker_port", cluster.worker_port, {.min = 1, .max = 65535});
  v.Field("bind", cluster.bind);
  v.Field("devices", cluster.devices);
  v.Field("tls", cluster.tls);
}

enum class UnknownGpu { kRefuse, kWait };
constexpr std::array<std::string_view, 2> EnumWords(UnknownGpu) { return {"refuse", "wait"}; }

template <class V>
void Describe(V& v, PolicyConfig& policy) {
  UnknownGpu unknown_gpu = policy.wait_for_unknown_gpu ? UnknownGpu::kWait : UnknownGpu::kRefuse;
  v.Field("unknown_gpu", unknown_gpu);
  policy.wait_for_unknown_gpu = unknown_gpu == UnknownGpu::kWait;
  v.Unbuilt("roles");
  v.Unbuilt("quotas");
  v.Unbuilt("budgets");
}

namespace {

// One section that is the whole file; an empty mapping is a file of defaults.
template <class S>
Result<S> ParseWhole(std::string_view text, const std::string& file) {
  YamlDocument document = ReadYaml(text, file);
  ReadContext context;
  context.file = file;
  context.folder = std::filesystem::path(file).parent_path().string();
  context.errors = std::move(document.problems);
  S section;
  if (document.root != nullptr && document.root->kind != YamlNode::Kind::kMap) {
    context.Fail("", document.root->at, "", "expected a mapping of keys");
  } else if (document.root != nullptr) {
    S blank;
    KeyLister lister(context.all_keys);
    Describe(lister, blank);
    FieldReader reader(context, document.root.get(), "", {1, 1});
    Describe(reader, section);
    reader.Finish();
  }
  if (!context.errors.empty()) return AsOneError(context.errors);
  return section;
}

}  // namespace

Result<ClusterConfig> ParseClusterConfig(std::string_view text, const std::string& file) {
  return ParseWhole<ClusterConfig>(text, file);
}

Result<ClusterConfig> LoadClusterConfig(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxYamlBytes));
  return ParseClusterConfig(text, path);
}

Result<PolicyConfig> ParsePolicyConfig(std::string_view text, const std::string& file) {
  return ParseWhole<PolicyConfig>(text, file);
}

Result<PolicyConfig> LoadPolicyConfig(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxYamlBytes));
  return ParsePolicyConfig(text, path);
}

}  // namespace lorry
