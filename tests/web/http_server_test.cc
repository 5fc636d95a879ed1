#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "web/html.h"
#include "web/http_server.h"

namespace lorry {
namespace {

TEST_CASE("escapes of an address") {
  CHECK(*AddressText("a%2Fb%20c") == "a/b c");
  CHECK(*AddressText("a+b", true) == "a b");
  CHECK(*AddressText("a+b") == "a+b");
  for (const char* broken : {"%", "%2", "%zz", "a%00b", "a%FFb", "\xE9"}) {
    INFO(broken);
    CHECK(AddressText(broken).error().code == ErrorCode::kUsage);
  }
}

// A client that sends what a test says, byte for byte.
class RawClient {
 public:
  explicit RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{3, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void Send(const std::string& text) const { (void)!::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // The status of the next answer; 0: none came, or the connection was closed.
  int Status() const {
    std::string answer;
    char piece[512];
    while (answer.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(fd_, piece, sizeof(piece), 0);
      if (got <= 0) break;
      answer.append(piece, static_cast<size_t>(got));
    }
    return answer.size() > 12 ? std::stoi(answer.substr(9, 3)) : 0;
  }

 private:
  int fd_;
};

std::unique_ptr<HttpServer> Serve(const HttpServerOptions& options) {
  const auto gate = [](const HttpRequest& request) -> std::optional<HttpResponse> {
    if (request.path == "/bad-gate") throw std::bad_alloc();
    if (request.Header("authorization").empty()) return TextResponse(401, "who are you?\n");
    return std::nullopt;
  };
  auto server = HttpServer::Start(options, gate, [](const HttpRequest& request) {
    if (request.path == "/bad") throw std::bad_alloc();
    return TextResponse(200, std::to_string(request.body.size()));
  });
  REQUIRE(server.ok());
  return *std::move(server);
}

TEST_CASE("what may not be answered is refused from its headers, before its body comes") {
  HttpServerOptions options;
  options.port = 0;
  options.max_body_bytes = 1000;
  const auto server = Serve(options);
  const std::string known = "Authorization: Bearer x\r\n";
  // path | headers | the body as far as it is sent | status
  const std::tuple<std::string, std::string, std::string, int> cases[] = {
      {"/", "Content-Length: 900\r\n", "", 401},
      {"/", "Transfer-Encoding: chunked\r\n", "", 401},
      {"/", known + "Content-Length: 1001\r\n", "", 413},
      {"/", known + "Content-Length: 5\r\n", "abcde", 200},
      {"/", known + "Transfer-Encoding: chunked\r\n", "7d0\r\n" + std::string(2000, 'x') + "\r\n0\r\n\r\n", 413},
      {"/%zz", known + "Content-Length: 900\r\n", "", 400},
      {"/bad-gate", known + "Content-Length: 900\r\n", "", 500},
      {"/bad", known + "Content-Length: 0\r\n", "", 500},
  };
  for (const auto& [path, headers, body, status] : cases) {
    INFO(path << " " << headers);
    const RawClient client(server->port());
    client.Send("POST " + path + " HTTP/1.1\r\nHost: here\r\n" + headers + "\r\n" + body);
    CHECK(client.Status() == status);
  }
}

TEST_CASE("connections are limited, together and of one address") {
  const std::string question = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
  for (const bool together : {true, false}) {
    CAPTURE(together);
    HttpServerOptions options;
    options.port = 0;
    options.threads = 1;
    (together ? options.connections : options.connections_per_address) = 2;
    const auto server = Serve(options);
    const RawClient second(server->port());
    {
      const RawClient first(server->port());
      for (const RawClient* client : {&first, &second}) {
        client->Send(question);
        CHECK(client->Status() == 200);
      }
      const RawClient third(server->port());
      third.Send(question);
      CHECK(third.Status() == 0);
    }
    second.Send(question);
    CHECK(second.Status() == 200);
  }
}

TEST_CASE("text in pages is escaped") {
  CHECK(Html("<a href=\"x\">&'") == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  HtmlTable table({"n"}, {0});
  CHECK(table.empty());
  table.Row({"1"});
  CHECK(table.str().find("<td class=\"n\">1</td>") != std::string::npos);
  CHECK(ProgressBar(3, 0) == "3");
  CHECK(ProgressBar(9, 3).find("width:100%") != std::string::npos);
}

}  // namespace
}  // namespace lorry
