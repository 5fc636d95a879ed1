// Small pieces over libzmq that the sockets of this folder are made of.
#pragma once

#include <zmq.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry::socket {

// Options that every socket of ours has: no lingering, bounded queues and messages, dead peers noticed.
void SetDefaults(void* socket);
void SetInteger(void* socket, int option, int value);
void SetText(void* socket, int option, std::string_view value);

// The error of libzmq's last failure.
Error ZmqError(ErrorCode code, std::string_view what);

// One frame, without waiting; nullopt where there is none. `user` gets the User-Id that the handshake proved, if wanted.
std::optional<std::string> ReceiveFrame(void* socket, int flags, std::string* user = nullptr);
bool HasMoreFrames(void* socket);

// A PAIR socket with the handshake and disconnect events of `watched`.
void* OpenMonitor(void* context, void* watched, int events);
// The next event's number; nullopt where none comes within `timeout_ms`.
std::optional<int> NextEvent(void* monitor, int timeout_ms);
void CloseMonitor(void* watched, void* monitor);

}  // namespace lorry::socket
