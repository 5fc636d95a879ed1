// HTTP over libmicrohttpd, the only file that includes it: requests in, responses out, no thought about what they mean.
//
// Threads: a small pool calls the handler concurrently; it must be safe for that. A handler may read files and the state file,
// and ask the scheduler, which answers within a turn of its loop; it must not wait for anything slower. Bodies of files are sent
// with sendfile. A request that the gate refuses, and one whose body would be too large, is answered from its headers, before any
// of its body is taken. A path is split at '/' first and each segment is decoded afterwards, so that an alias with a slash stays
// one segment (%2F); %00 and broken escapes are 400.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace lorry {

struct HttpRequest {
  std::string method;                 // "GET", "HEAD", "POST", ...
  std::string path;                   // as sent, still encoded, without the query
  std::vector<std::string> segments;  // decoded; "/a/b%2Fc" has {"a", "b/c"}; "/" has none
  std::multimap<std::string, std::string> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool from_loopback = false;
  bool tls = false;

  // The first value of a query parameter, or a header's, or ''.
  std::string Parameter(const std::string& name) const;
  std::string Header(const std::string& name) const;
  // "http://HOST" of this request, for absolute links.
  std::string Origin() const;
};

// Bytes [offset, offset + length) of a file.
struct FileBody {
  std::string path;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct HttpResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<FileBody> file;  // instead of body
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;
// The refusal of a request of which the headers are known and the body is not; nullopt: let it in.
using HttpGate = std::function<std::optional<HttpResponse>(const HttpRequest&)>;

struct HttpServerOptions {
  std::string bind_address = "127.0.0.1";
  int port = 8600;              // 0: a free one
  std::string tls_certificate;  // PEM text; empty: no TLS
  std::string tls_key;
  size_t max_body_bytes = 1 << 20;
  unsigned connections = 256;
  unsigned connections_per_address = 0;  // 0: no limit of its own
  unsigned threads = 4;
};

class HttpServer {
 public:
  // Errors: kConflict where the port is taken, kSpec for a bad address or certificate.
  static Result<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options, HttpGate gate, HttpHandler handler);
  // Waits for requests that are being answered.
  ~HttpServer();
  int port() const { return port_; }

 private:
  struct Impl;
  HttpServer();
  std::unique_ptr<Impl> impl_;
  int port_ = 0;
};

// "a%2Fb" -> "a/b". Errors: kUsage for a broken escape or a zero byte.
Result<std::string> AddressText(std::string text, bool plus_is_blank = false);

// "a=1&b=x%20y", as a query has it, or the body of a form. Errors: kUsage.
Result<std::multimap<std::string, std::string>> ParseQuery(std::string_view text);

HttpResponse TextResponse(int status, std::string text);
HttpResponse JsonResponse(int status, std::string json);
HttpResponse HtmlResponse(std::string html);

}  // namespace lorry
