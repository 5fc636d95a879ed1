#include "worker/task_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/files.h"
#include "base/json.h"

namespace lorry {
namespace {

constexpr size_t kMostLineBytes = size_t{64} << 20;
constexpr int kMostRanks = 4096;

pid_t PeerProcess(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : -1;
}

}  // namespace

Result<std::unique_ptr<TaskSocket>> TaskSocket::Listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return MakeError(ErrorCode::kInternal, fmt::format("socket name too long: {}", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ::unlink(path.c_str());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ErrnoError("cannot make a socket", path);
  std::unique_ptr<TaskSocket> socket(new TaskSocket(fd, path));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 || ::listen(fd, kMostRanks) != 0) {
    return ErrnoError("cannot listen at", path);
  }
  return socket;
}

TaskSocket::~TaskSocket() {
  for (const Connection& connection : connections_) ::close(connection.fd);
  ::close(fd_);
  ::unlink(path_.c_str());
}

std::vector<int> TaskSocket::fds() const {
  std::vector<int> fds = {fd_};
  for (const Connection& connection : connections_) fds.push_back(connection.fd);
  return fds;
}

void TaskSocket::Accept() {
  for (;;) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0) return;
    Connection connection;
    connection.fd = fd;
    connection.pid = PeerProcess(fd);
    connections_.push_back(std::move(connection));
  }
}

std::vector<RankLine> TaskSocket::Read() {
  Accept();
  std::vector<RankLine> lines;
  std::erase_if(connections_, [&](Connection& connection) {
    if (ReadFrom(&connection, &lines)) return false;
    ::close(connection.fd);
    return true;
  });
  return lines;
}

bool TaskSocket::ReadFrom(Connection* connection, std::vector<RankLine>* lines) {
  for (;;) {
    char piece[1 << 16];
    const ssize_t got = ::recv(connection->fd, piece, sizeof(piece), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (got <= 0) return false;
    connection->received.append(piece, static_cast<size_t>(got));
    if (!TakeLines(connection, lines)) return false;
  }
}

bool TaskSocket::TakeLines(Connection* connection, std::vector<RankLine>* lines) {
  std::string& received = connection->received;
  size_t begin = 0;
  for (;;) {
    const size_t end = received.find('\n', std::max(begin, connection->searched));
    if (end == std::string::npos) break;
    Result<nlohmann::json> line = ParseJson(std::string_view(received).substr(begin, end - begin));
    begin = end + 1;
    connection->searched = begin;
    if (!line.ok() || !line->is_object()) return false;
    if (connection->rank < 0) {
      const auto t = line->find("t");
      const auto rank = line->find("rank");
      const bool hello = t != line->end() && *t == "hello" && rank != line->end() && rank->is_number_unsigned();
      if (!hello || rank->get<uint64_t>() >= kMostRanks) return false;
      connection->rank = rank->get<int>();
      processes_[connection->rank] = connection->pid;
    }
    lines->push_back({connection->rank, std::move(*line)});
  }
  received.erase(0, begin);
  connection->searched = received.size();
  return received.size() <= kMostLineBytes;
}

void TaskSocket::Send(int rank, const nlohmann::json& line) {
  for (Connection& connection : connections_) {
    if (connection.rank == rank) connection.to_send += line.dump() + "\n";
  }
  Flush();
}

void TaskSocket::SendAll(const nlohmann::json& line) {
  for (Connection& connection : connections_) connection.to_send += line.dump() + "\n";
  Flush();
}

void TaskSocket::Flush() {
  for (Connection& connection : connections_) {
    while (!connection.to_send.empty()) {
      const ssize_t sent =
          ::send(connection.fd, connection.to_send.data(), connection.to_send.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) break;  // full: the next flush goes on; gone: the next read sees it
      connection.to_send.erase(0, static_cast<size_t>(sent));
    }
  }
}

}  // namespace lorry
