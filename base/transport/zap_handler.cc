#include "base/transport/zap_handler.h"

#include <atomic>
#include <mutex>

#include <fmt/format.h>

#include "base/transport/socket.h"

namespace lorry {
namespace {

constexpr const char* kEndpoint = "inproc://zeromq.zap.01";

struct Request {
  std::string version, id, domain, mechanism, credentials;
};

// The frames of one request; what a later ZAP would add is read and ignored.
std::optional<Request> ReceiveRequest(void* socket) {
  std::vector<std::string> frames;
  do {
    auto frame = socket::ReceiveFrame(socket, ZMQ_DONTWAIT);
    if (!frame.has_value()) return std::nullopt;
    frames.push_back(std::move(*frame));
  } while (socket::HasMoreFrames(socket));
  frames.resize(7);
  return Request{frames[0], frames[1], frames[2], frames[5], frames[6]};
}

void Answer(void* socket, const Request& request, bool allowed, const std::string& user) {
  const std::string frames[] = {
      "1.0", request.id, allowed ? "200" : "400", allowed ? "OK" : "this key is not allowed here", allowed ? user : "", ""};
  for (size_t i = 0; i < std::size(frames); ++i) {
    zmq_send(socket, frames[i].data(), frames[i].size(), i + 1 < std::size(frames) ? ZMQ_SNDMORE : 0);
  }
}

}  // namespace

struct ZapHandler::State {
  std::shared_ptr<TransportContext> context;
  std::vector<ZapDomain> domains;
  void* requests = nullptr;
  void* stop_here = nullptr;   // the thread's end
  void* stop_there = nullptr;  // the owner's end
  std::mutex mutex;
  std::set<std::string> test_keys;

  ~State() {
    for (void* socket : {requests, stop_here, stop_there}) {
      if (socket != nullptr) zmq_close(socket);
    }
  }

  bool Allows(const Request& request, std::string* user) {
    if (request.version != "1.0" || request.mechanism != "CURVE" || request.credentials.size() != 32) return false;
    char text[41];
    zmq_z85_encode(text, reinterpret_cast<const uint8_t*>(request.credentials.data()), 32);
    *user = text;
    {
      std::lock_guard lock(mutex);
      if (test_keys.contains(*user)) return true;
    }
    for (const ZapDomain& domain : domains) {
      if (domain.name == request.domain) return domain.allowed_keys().contains(*user);
    }
    return false;
  }

  // Until the owner says stop: one handshake after the other.
  void Run() {
    while (true) {
      zmq_pollitem_t items[] = {{requests, 0, ZMQ_POLLIN, 0}, {stop_here, 0, ZMQ_POLLIN, 0}};
      if (zmq_poll(items, 2, -1) < 0 && zmq_errno() != EINTR) return;
      if (items[1].revents != 0) return;
      if (items[0].revents == 0) continue;
      auto request = ReceiveRequest(requests);
      if (!request.has_value()) continue;
      std::string user;
      const bool allowed = Allows(*request, &user);
      Answer(requests, *request, allowed, user);
    }
  }
};

ZapHandler::ZapHandler(std::unique_ptr<State> state) : state_(std::move(state)) {
  thread_ = std::thread([raw = state_.get()] { raw->Run(); });
}

Result<std::unique_ptr<ZapHandler>> ZapHandler::Start(const std::shared_ptr<TransportContext>& context,
                                                      std::vector<ZapDomain> domains) {
  static std::atomic<uint64_t> counter{0};
  auto state = std::make_unique<State>();
  state->context = context;
  state->domains = std::move(domains);
  state->requests = zmq_socket(context->raw(), ZMQ_REP);
  state->stop_here = zmq_socket(context->raw(), ZMQ_PAIR);
  state->stop_there = zmq_socket(context->raw(), ZMQ_PAIR);
  for (void* socket : {state->requests, state->stop_here, state->stop_there}) socket::SetInteger(socket, ZMQ_LINGER, 0);
  if (zmq_bind(state->requests, kEndpoint) != 0) {
    return socket::ZmqError(ErrorCode::kConflict, "this context has a ZAP handler already");
  }
  const std::string stop = fmt::format("inproc://zap-stop-{}", ++counter);
  zmq_bind(state->stop_here, stop.c_str());
  zmq_connect(state->stop_there, stop.c_str());
  return std::unique_ptr<ZapHandler>(new ZapHandler(std::move(state)));
}

ZapHandler::~ZapHandler() {
  zmq_send(state_->stop_there, "", 0, 0);
  thread_.join();
}

void ZapHandler::AllowForTest(const std::string& public_key) {
  std::lock_guard lock(state_->mutex);
  state_->test_keys.insert(public_key);
}

void ZapHandler::EndTest(const std::string& public_key) {
  std::lock_guard lock(state_->mutex);
  state_->test_keys.erase(public_key);
}

}  // namespace lorry
