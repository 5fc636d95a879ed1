// Every message between lorry, lorryd and lorry-worker: one frame of a fixed 48-byte header and a body.
//
//   offset  width  field
//        0      4  magic "LRRY"
//        4      2  major version: another one is refused with a text that names both
//        6      2  minor version of the sender: fields may have been appended, a reader skips what it does not know
//        8      2  type (wire_types.h)
//       10      2  flags, 0 in this version
//       12      4  body's length in bytes
//       16      8  session, from Welcome; 0 before it and on client messages
//       24      8  epoch of the attempt that the message is about, 0 where there is none
//       32      8  sequence: counts the sender's messages in this session
//       40      8  request: an answer carries the number of its request
//
// Bodies are in wire_client.h, wire_worker.h and wire_types.h; wire_codec.h writes and reads them. Values and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/result.h"
#include "base/wire_client.h"
#include "base/wire_codec.h"
#include "base/wire_types.h"
#include "base/wire_worker.h"

namespace lorry::wire {

inline constexpr uint32_t kMagic = 0x5952524c;  // "LRRY" in little-endian order
inline constexpr uint16_t kMajor = 1;
inline constexpr uint16_t kMinor = 0;
inline constexpr size_t kHeaderBytes = 48;
// The transport drops a peer that sends more than this in one message.
inline constexpr size_t kMaxMessageBytes = 16 << 20;

struct Header {
  uint16_t major = kMajor;
  uint16_t minor = kMinor;
  Type type = Type::kNone;
  uint16_t flags = 0;
  uint64_t session = 0;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  uint64_t request = 0;
};

// A received message: the header and the body's bytes, which lie in the message that ParseMessage was given.
struct Message {
  Header header;
  std::string_view body;
};

// Errors: kData, with a readable text: not a message of Lorry's, another major version, cut off, too long.
Result<Message> ParseMessage(std::string_view bytes);

// Header and body as one string. header.type is set here.
template <class Body>
std::string EncodeMessage(Header header, const Body& body);

// The body of a message of this type. Errors: kData where the type is another or the bytes are not such a body.
template <class Body>
Result<Body> DecodeBody(const Message& message);

// The answer as what was asked for: an ErrorReply becomes the Error that it carries.
template <class Body>
Result<Body> DecodeReply(const Message& message);

// --- implementation of the templates ---

void AppendHeader(const Header& header, std::string* out);
void PatchBodyLength(std::string* message);
Error BodyError(Type expected, Type got, std::string_view problem);

template <class Body>
std::string EncodeMessage(Header header, const Body& body) {
  header.type = Body::kType;
  std::string bytes;
  AppendHeader(header, &bytes);
  Encoder encoder(&bytes);
  body.Fields(encoder);
  PatchBodyLength(&bytes);
  return bytes;
}

template <class Body>
Result<Body> DecodeBody(const Message& message) {
  if (message.header.type != Body::kType) return BodyError(Body::kType, message.header.type, "");
  Body body;
  Decoder decoder(message.body);
  body.Fields(decoder);
  if (!decoder.ok()) return BodyError(Body::kType, message.header.type, decoder.problem());
  return body;
}

template <class Body>
Result<Body> DecodeReply(const Message& message) {
  if (message.header.type == Type::kErrorReply) {
    LORRY_ASSIGN_OR_RETURN(ErrorReply refused, DecodeBody<ErrorReply>(message));
    return refused.error.ToError();
  }
  return DecodeBody<Body>(message);
}

}  // namespace lorry::wire
