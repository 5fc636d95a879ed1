#include "base/transport/context.h"

#include <zmq.h>

namespace lorry {

std::shared_ptr<TransportContext> TransportContext::Make() {
  void* raw = zmq_ctx_new();
  zmq_ctx_set(raw, ZMQ_MAX_SOCKETS, 16384);
  return std::shared_ptr<TransportContext>(new TransportContext(raw));
}

TransportContext::~TransportContext() { zmq_ctx_term(raw_); }

}  // namespace lorry
