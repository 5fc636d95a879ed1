// The registry as Hugging Face clients see it: huggingface_hub, transformers, PEFT and vLLM, unmodified, by HF_ENDPOINT alone.
//
// A pure function of request and state: it opens no socket, and answers with a status, headers and either a text or a stretch
// of a blob's file, which the server sends. Which requests clients make and what they need of the answers is written in
// docs/formats/registry.md. Nothing in an answer names Xet: with it absent, every client uses plain HTTP.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/store/database.h"
#include "registry/blob_store.h"

namespace lorry {

struct HubRequest {
  std::string method = "GET";                              // what does not fit to the path is answered with 405
  std::string path;                                        // as it came, percent-encoded, without the query
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  std::string range;                                       // the Range header; empty where there was none
  std::string content_type;                                // of the body
  std::string body;
  bool may_read_private = true;     // the token sent, or loopback without tokens, allows it
  std::optional<std::string> user;  // whose token it is
};

// A stretch of a file. The server opens it; it never changes.
struct FileStretch {
  std::string path;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct HubResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;  // Content-Length is the server's: of the text or the stretch
  std::string body;                                          // sent where there is no file
  std::optional<FileStretch> file;
  // For HEAD the server sends the headers and Content-Length of what GET would send.
};

// True for paths that this face answers: /api/models..., /api/whoami-v2, /ORG/NAME/resolve/..., /ORG/NAME/raw/... and the same
// with a bare NAME.
bool IsHubPath(std::string_view path);

// REQUIRES: IsHubPath(request.path). Every fault is an answer, never an error.
HubResponse AnswerHub(Database& db, const BlobStore& blobs, const HubRequest& request);

}  // namespace lorry
