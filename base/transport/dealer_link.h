// A peer's side: a DEALER socket under CURVE to one port of the scheduler's. It connects by itself, again and again, as long as
// it lives; messages sent while there is no connection are refused, not queued. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/transport/context.h"
#include "base/transport/keys.h"
#include "base/units.h"

namespace lorry {

struct DealerLinkOptions {
  std::string address;            // "tcp://HOST:8602"
  std::string server_public_key;  // Z85
  KeyPair keys;
};

class DealerLink {
 public:
  // Returns at once; the handshake goes on in the context's thread. Errors: kUsage for an address that is none.
  static Result<std::unique_ptr<DealerLink>> Connect(const std::shared_ptr<TransportContext>& context,
                                                     const DealerLinkOptions& options);
  ~DealerLink();
  DealerLink(const DealerLink&) = delete;
  DealerLink& operator=(const DealerLink&) = delete;

  // Waits up to `timeout` for a connection. Errors: kUnreachable where there is none then, or the other side does not read.
  Status Send(const std::string& bytes, Millis timeout = Millis(0));
  // The next message; nullopt when none came in time. 0: do not wait.
  std::optional<std::string> Receive(Millis timeout);
  // Drops the connection and all that is queued and starts afresh: after an unknown session, or missed signs of life.
  Status Reconnect();
  // kNotAllowed once the other side has refused our key; nullopt otherwise.
  std::optional<Error> Refusal();
  // How many connections there have been: it grows when one was lost and made again, and what was on its way may be lost then.
  uint64_t connections();
  void* raw() const { return socket_; }  // for Poller

 private:
  DealerLink(std::shared_ptr<TransportContext> context, DealerLinkOptions options)
      : context_(std::move(context)), options_(std::move(options)) {}
  Status Open();
  void Close();
  void ReadMonitor();

  std::shared_ptr<TransportContext> context_;
  DealerLinkOptions options_;
  void* socket_ = nullptr;
  void* monitor_ = nullptr;
  bool refused_ = false;
  uint64_t connections_ = 0;
};

}  // namespace lorry
