// hub_probe HOME PORT [NAME=KIND:DIR[:BASE]]...: the read face over HTTP without a scheduler, for tests/live/hub_peer.py.
//
// Registers each directory in turn (KIND model or adapter), prints one line of JSON with names and commits, then answers
// until standard input ends. The home must be new.
#include <fcntl.h>
#include <microhttpd.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include <fmt/core.h>

#include "base/text.h"
#include "registry/hub_face.h"
#include "tests/registry/registry_fixture.h"

namespace {

namespace fs = std::filesystem;

int Fail(const lorry::Error& error) {
  fmt::print(stderr, "{}\n", error.Format());
  return 1;
}

lorry::Result<lorry::Published> Register(lorry::RegistryFixture* registry, const std::string& word) {
  const size_t equals = word.find('=');
  const std::vector<std::string> parts = lorry::Split(word.substr(equals + 1), ':');
  lorry::Publication publication;
  publication.name = word.substr(0, equals);
  LORRY_ASSIGN_OR_RETURN(publication.kind, lorry::ItemKindFromName(parts[0]));
  publication.base = parts.size() > 2 ? parts[2] : "";
  publication.is_private = publication.name.find("private") != std::string::npos;
  for (const auto& entry : fs::recursive_directory_iterator(parts.at(1))) {
    if (!entry.is_regular_file()) continue;
    LORRY_ASSIGN_OR_RETURN(const lorry::StoredBlob blob, registry->blobs().PutFile(entry.path()));
    publication.files.push_back({fs::relative(entry.path(), parts[1]).string(), blob.digest, blob.size});
  }
  return registry->TryPublish(publication);
}

MHD_Result AddQuery(void* request, MHD_ValueKind, const char* key, const char* value) {
  static_cast<lorry::HubRequest*>(request)->query.emplace_back(key, value == nullptr ? "" : value);
  return MHD_YES;
}

std::string Header(MHD_Connection* connection, const char* name) {
  const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  return value == nullptr ? "" : value;
}

// Collects a body over several calls, then answers.
MHD_Result Answer(void* context, MHD_Connection* connection, const char* url, const char* method, const char*, const char* data,
                  size_t* size, void** state) {
  auto* registry = static_cast<lorry::RegistryFixture*>(context);
  if (*state == nullptr) {
    *state = new lorry::HubRequest;
    return MHD_YES;
  }
  auto* request = static_cast<lorry::HubRequest*>(*state);
  if (*size > 0) {
    request->body.append(data, *size);
    *size = 0;
    return MHD_YES;
  }
  request->method = method;
  request->path = url;
  request->range = Header(connection, "Range");
  request->content_type = Header(connection, "Content-Type");
  request->may_read_private = Header(connection, "Authorization") == "Bearer good";
  if (request->may_read_private) request->user = "tester";
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, AddQuery, request);
  lorry::Result<lorry::Reader> reader = registry->store().Read();
  if (!reader.ok()) return MHD_NO;
  const lorry::HubResponse answer = lorry::AnswerHub(reader->db(), registry->blobs(), *request);
  MHD_Response* response =
      answer.file && answer.file->length > 0
          ? MHD_create_response_from_fd_at_offset64(answer.file->length, open(answer.file->path.c_str(), O_RDONLY),
                                                    answer.file->offset)
          : MHD_create_response_from_buffer(answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  for (const auto& [name, value] : answer.headers) MHD_add_response_header(response, name.c_str(), value.c_str());
  const MHD_Result queued = MHD_queue_response(connection, static_cast<unsigned>(answer.status), response);
  MHD_destroy_response(response);
  fmt::print(stderr, "{} {} {} -> {}\n", method, url, request->range, answer.status);
  return queued;
}

void Forget(void*, MHD_Connection*, void** state, MHD_RequestTerminationCode) { delete static_cast<lorry::HubRequest*>(*state); }

size_t KeepEscapes(void*, MHD_Connection*, char* text) { return std::string_view(text).size(); }

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: hub_probe HOME PORT [NAME=KIND:DIR[:BASE]]...\n");
    return 2;
  }
  lorry::RegistryFixture registry(argv[1]);
  std::string line;
  for (int i = 3; i < argc; ++i) {
    const lorry::Result<lorry::Published> published = Register(&registry, argv[i]);
    if (!published.ok()) return Fail(published.error());
    line += fmt::format("{}\"{}\": \"{}\"", line.empty() ? "" : ", ", published->entry.Text(),
                        lorry::CommitOf(published->entry.digest));
  }
  MHD_Daemon* daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, static_cast<uint16_t>(std::stoi(argv[2])), nullptr,
                                        nullptr, &Answer, &registry, MHD_OPTION_NOTIFY_COMPLETED, &Forget, nullptr,
                                        MHD_OPTION_UNESCAPE_CALLBACK, &KeepEscapes, nullptr, MHD_OPTION_END);
  if (daemon == nullptr) return 1;
  fmt::print("{{{}}}\n", line);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  MHD_stop_daemon(daemon);
}
