#include "web/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/files.h"
#include "base/percent.h"
#include "base/text.h"

namespace lorry {
namespace {

// What libmicrohttpd carries from one callback of a request to the next.
struct Pending {
  HttpRequest request;
  bool too_large = false;
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

bool IsLoopback(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  if (info == nullptr || info->client_addr == nullptr) return false;
  if (info->client_addr->sa_family == AF_INET) {
    return ntohl(reinterpret_cast<const sockaddr_in*>(info->client_addr)->sin_addr.s_addr) >> 24 == 127;
  }
  return info->client_addr->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(info->client_addr)->sin6_addr);
}

Status SplitTarget(const std::string& target, HttpRequest* request) {
  const size_t question = target.find('?');
  request->path = target.substr(0, question);
  for (const std::string& part : Split(request->path, '/')) {
    if (part.empty()) continue;
    LORRY_ASSIGN_OR_RETURN(std::string segment, AddressText(part));
    request->segments.push_back(std::move(segment));
  }
  if (question == std::string::npos) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(request->query, ParseQuery(std::string_view(target).substr(question + 1)));
  return OkStatus();
}

bool HasBody(const HttpRequest& request) {
  const std::string length = request.Header("content-length");
  return (!length.empty() && length != "0") || !request.Header("transfer-encoding").empty();
}

// False where there is no memory for them.
bool TakeHeaders(MHD_Connection* connection, std::map<std::string, std::string>* headers) {
  struct Taker {
    std::map<std::string, std::string>* headers;
    bool failed = false;
  } taker{headers};
  MHD_get_connection_values(
      connection, MHD_HEADER_KIND,
      [](void* state, MHD_ValueKind, const char* name, const char* value) noexcept {
        Taker& taker = *static_cast<Taker*>(state);
        try {
          (*taker.headers)[Lower(name)] = value != nullptr ? value : "";
        } catch (...) {
          taker.failed = true;
        }
        return taker.failed ? MHD_NO : MHD_YES;
      },
      &taker);
  return !taker.failed;
}

MHD_Response* FileResponse(const FileBody& file) {
  const int fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
  return fd < 0 ? nullptr : MHD_create_response_from_fd_at_offset64(file.length, fd, file.offset);
}

MHD_Result Answer(MHD_Connection* connection, HttpResponse response) {
  MHD_Response* raw = response.file ? FileResponse(*response.file) : nullptr;
  if (raw == nullptr && response.file) response = TextResponse(500, "the file cannot be read\n");
  if (raw == nullptr) raw = MHD_create_response_from_buffer(response.body.size(), response.body.data(), MHD_RESPMEM_MUST_COPY);
  if (raw == nullptr) return MHD_NO;
  for (const auto& [name, value] : response.headers) MHD_add_response_header(raw, name.c_str(), value.c_str());
  const MHD_Result queued = MHD_queue_response(connection, static_cast<unsigned>(response.status), raw);
  MHD_destroy_response(raw);
  return queued;
}

}  // namespace

struct HttpServer::Impl {
  HttpGate gate;
  HttpHandler handler;
  size_t max_body_bytes = 0;
  bool tls = false;
  std::string certificate, key;
  MHD_Daemon* daemon = nullptr;

  // Called with the request line before anything is decoded: the target as it was sent. Null where there is no memory.
  static void* OnTarget(void*, const char* target, MHD_Connection*) noexcept {
    try {
      auto pending = std::make_unique<Pending>();
      pending->request.path = target;
      return pending.release();
    } catch (...) {
      return nullptr;
    }
  }
  static void OnCompleted(void*, MHD_Connection*, void** state, MHD_RequestTerminationCode) noexcept {
    delete static_cast<Pending*>(*state);
    *state = nullptr;
  }
  // The target is decoded by us, a segment at a time.
  static size_t KeepEscapes(void*, MHD_Connection*, char* text) noexcept { return std::strlen(text); }

  // An exception may not pass through the library's frames: what is left then is to close the connection.
  static MHD_Result OnRequest(void* self, MHD_Connection* connection, const char*, const char* method, const char*,
                              const char* upload, size_t* upload_size, void** state) noexcept {
    if (*state == nullptr) return MHD_NO;
    try {
      return static_cast<Impl*>(self)->Step(connection, method, upload, upload_size, static_cast<Pending*>(*state));
    } catch (...) {
      return MHD_NO;
    }
  }

  MHD_Result Step(MHD_Connection* connection, const char* method, const char* upload, size_t* upload_size, Pending* pending) {
    HttpRequest& request = pending->request;
    if (request.method.empty()) return Begin(connection, method, &request);
    if (*upload_size > 0) {
      pending->too_large = pending->too_large || request.body.size() + *upload_size > max_body_bytes;
      if (pending->too_large) {
        request.body = std::string();
      } else {
        request.body.append(upload, *upload_size);
      }
      *upload_size = 0;
      return MHD_YES;
    }
    if (pending->too_large) return Answer(connection, TooLarge());
    return Answer(connection, Guarded<HttpResponse>(request, [&] { return handler(request); }));
  }

  // The first of at least two calls has the headers only. A refusal closes the connection, since what follows is not read.
  MHD_Result Begin(MHD_Connection* connection, const char* method, HttpRequest* request) {
    request->method = method;
    const std::string target = request->path;
    if (!TakeHeaders(connection, &request->headers)) return MHD_NO;
    request->from_loopback = IsLoopback(connection);
    request->tls = tls;
    std::optional<HttpResponse> refusal;
    if (const Status split = SplitTarget(target, request); !split.ok()) {
      refusal = TextResponse(400, split.error().message + "\n");
    } else if (std::strtoull(request->Header("content-length").c_str(), nullptr, 10) > max_body_bytes) {
      refusal = TooLarge();
    } else if (HasBody(*request)) {
      refusal = Guarded<std::optional<HttpResponse>>(*request, [&] { return gate(*request); });
    }
    if (!refusal) return MHD_YES;
    refusal->headers.emplace_back("Connection", "close");
    return Answer(connection, *std::move(refusal));
  }

  static HttpResponse TooLarge() { return TextResponse(413, "the body is too large\n"); }

  template <class Answer, class Work>
  static Answer Guarded(const HttpRequest& request, Work&& work) {
    try {
      return work();
    } catch (const std::exception& e) {
      spdlog::error("{} {}: {}", request.method, request.path, e.what());
      return TextResponse(500, "internal error; lorryd's log has the reason\n");
    }
  }
};

HttpServer::HttpServer() : impl_(std::make_unique<Impl>()) {}

HttpServer::~HttpServer() {
  if (impl_->daemon != nullptr) MHD_stop_daemon(impl_->daemon);
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options, HttpGate gate, HttpHandler handler) {
  std::unique_ptr<HttpServer> server(new HttpServer());
  Impl& impl = *server->impl_;
  impl.gate = std::move(gate);
  impl.handler = std::move(handler);
  impl.max_body_bytes = options.max_body_bytes;
  impl.tls = !options.tls_certificate.empty();
  impl.certificate = options.tls_certificate;
  impl.key = options.tls_key;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(options.port));
  if (::inet_pton(AF_INET, options.bind_address.c_str(), &address.sin_addr) != 1) {
    return MakeError(ErrorCode::kSpec, fmt::format("\"{}\" is not an IPv4 address", options.bind_address));
  }
  std::vector<MHD_OptionItem> items = {
      {MHD_OPTION_SOCK_ADDR, 0, &address},
      {MHD_OPTION_URI_LOG_CALLBACK, reinterpret_cast<intptr_t>(&Impl::OnTarget), nullptr},
      {MHD_OPTION_NOTIFY_COMPLETED, reinterpret_cast<intptr_t>(&Impl::OnCompleted), nullptr},
      {MHD_OPTION_UNESCAPE_CALLBACK, reinterpret_cast<intptr_t>(&Impl::KeepEscapes), nullptr},
      {MHD_OPTION_THREAD_POOL_SIZE, static_cast<intptr_t>(options.threads), nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, 60, nullptr},
      {MHD_OPTION_CONNECTION_LIMIT, static_cast<intptr_t>(options.connections), nullptr},
      {MHD_OPTION_PER_IP_CONNECTION_LIMIT, static_cast<intptr_t>(options.connections_per_address), nullptr},
      {MHD_OPTION_LISTENING_ADDRESS_REUSE, 1, nullptr},
  };
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD;
  if (impl.tls) {
    flags |= MHD_USE_TLS;
    items.push_back({MHD_OPTION_HTTPS_MEM_CERT, 0, impl.certificate.data()});
    items.push_back({MHD_OPTION_HTTPS_MEM_KEY, 0, impl.key.data()});
  }
  items.push_back({MHD_OPTION_END, 0, nullptr});
  impl.daemon =
      MHD_start_daemon(flags, 0, nullptr, nullptr, &Impl::OnRequest, &impl, MHD_OPTION_ARRAY, items.data(), MHD_OPTION_END);
  if (impl.daemon == nullptr) {
    return MakeError(
        ErrorCode::kConflict, fmt::format("cannot serve pages at {}:{}", options.bind_address, options.port),
        impl.tls ? "is the port taken, or the certificate not PEM?" : "is the port taken? choose another with --port");
  }
  const MHD_DaemonInfo* info = MHD_get_daemon_info(impl.daemon, MHD_DAEMON_INFO_BIND_PORT);
  server->port_ = info != nullptr ? info->port : options.port;
  return server;
}

std::string HttpRequest::Parameter(const std::string& name) const {
  const auto found = query.find(name);
  return found == query.end() ? "" : found->second;
}

std::string HttpRequest::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string HttpRequest::Origin() const { return (tls ? "https://" : "http://") + Header("host"); }

Result<std::string> AddressText(std::string text, bool plus_is_blank) {
  if (plus_is_blank) std::replace(text.begin(), text.end(), '+', ' ');
  const std::optional<std::string> decoded = PercentDecode(text);
  if (!decoded) return MakeError(ErrorCode::kUsage, "a broken % escape or a zero byte in the address");
  if (!IsValidUtf8(*decoded)) return MakeError(ErrorCode::kUsage, "the address is not UTF-8 text");
  return *decoded;
}

Result<std::multimap<std::string, std::string>> ParseQuery(std::string_view text) {
  std::multimap<std::string, std::string> fields;
  for (const std::string& pair : Split(text, '&')) {
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    LORRY_ASSIGN_OR_RETURN(std::string name, AddressText(pair.substr(0, equals), true));
    LORRY_ASSIGN_OR_RETURN(std::string value, AddressText(equals == std::string::npos ? "" : pair.substr(equals + 1), true));
    fields.emplace(std::move(name), std::move(value));
  }
  return fields;
}

HttpResponse TextResponse(int status, std::string text) {
  return {status, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(text), {}};
}
HttpResponse JsonResponse(int status, std::string json) {
  return {status, {{"Content-Type", "application/json"}}, std::move(json), {}};
}
HttpResponse HtmlResponse(std::string html) {
  return {200, {{"Content-Type", "text/html; charset=utf-8"}, {"Cache-Control", "no-store"}}, std::move(html), {}};
}

}  // namespace lorry
