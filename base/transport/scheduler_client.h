// The scheduler as a client sees it: one blocking call per question. Used by the command line and by tests.
//
// While the scheduler restarts, a call tries again for `patience`, then ends in kUnreachable (exit status 3). Repeating is safe:
// see wire_client.h. A refused key ends at once in kNotAllowed (exit status 4). A scheduler that is there and busy is waited for:
// a ping on the same connection tells the two apart. One thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/transport/dealer_link.h"
#include "base/units.h"
#include "base/wire.h"

namespace lorry {

struct SchedulerClientOptions {
  std::string address;            // "tcp://HOST:8601"
  std::string server_public_key;  // Z85
  KeyPair keys;
  Millis patience{5000};

  // The keys of HOME/keys: scheduler.public and the client pair.
  static Result<SchedulerClientOptions> ForHome(const std::string& home, const std::string& address);
};

class SchedulerClient {
 public:
  static Result<SchedulerClient> Connect(SchedulerClientOptions options);

  Result<wire::Pong> Ping() { return Call<wire::Pong>(wire::Ping{}); }
  Result<wire::Submitted> Submit(const wire::Submit& request) { return Call<wire::Submitted>(request); }
  Result<std::string> Plan(const wire::Plan& request) { return Json(request); }
  Result<std::vector<wire::RunSummary>> List(const wire::ListRuns& request);
  Result<std::string> Show(const RunId& run) { return Json(wire::ShowRun{run}); }
  Result<std::string> Explain(const RunId& run) { return Json(wire::Explain{run}); }
  Result<wire::RunEvents> Watch(const wire::WatchRun& request) { return Call<wire::RunEvents>(request); }
  Result<wire::LogPiece> ReadLog(const wire::ReadLog& request) { return Call<wire::LogPiece>(request); }
  Result<wire::RunSummary> Cancel(const RunId& run, bool now, const std::string& why);
  Result<wire::RunSummary> Pause(const RunId& run);
  Result<wire::RunSummary> Resume(const RunId& run);
  // JSON in, JSON out. `key` as in wire::Query: give one where the question changes something.
  Result<std::string> Query(const std::string& name, const std::string& json, const std::string& key = "");

  // One flag for each digest.
  Result<std::vector<bool>> HasBlobs(const std::vector<Digest>& digests);
  // Sends what the store does not have yet, going on where an earlier try stopped. `progress` gets the bytes that are there.
  using ByteProgress = std::function<void(uint64_t done, uint64_t total)>;
  Status PutFile(const std::string& path, const Digest& digest, const ByteProgress& progress = {});
  // One piece from `offset` on, not checked against the digest.
  Result<wire::BlobPiece> GetPiece(const Digest& digest, uint64_t offset) {
    return Call<wire::BlobPiece>(wire::GetBlob{digest, offset});
  }
  // Writes `path` atomically once all of it is there and has the digest.
  Status GetFile(const Digest& digest, const std::string& path, const ByteProgress& progress = {});

 private:
  explicit SchedulerClient(SchedulerClientOptions options, std::shared_ptr<TransportContext> context,
                           std::unique_ptr<DealerLink> link)
      : options_(std::move(options)), context_(std::move(context)), link_(std::move(link)) {}

  template <class Reply, class Request>
  Result<Reply> Call(const Request& request) {
    wire::Header header;
    header.request = ++last_request_;
    LORRY_ASSIGN_OR_RETURN(std::string bytes, Exchange(header.request, wire::EncodeMessage(header, request)));
    LORRY_ASSIGN_OR_RETURN(wire::Message message, wire::ParseMessage(bytes));
    return wire::DecodeReply<Reply>(message);
  }
  template <class Request>
  Result<std::string> Json(const Request& request) {
    LORRY_ASSIGN_OR_RETURN(wire::JsonReply reply, Call<wire::JsonReply>(request));
    return std::move(reply.json);
  }
  // Sends until the answer with this request number is there.
  Result<std::string> Exchange(uint64_t request, const std::string& bytes);

  SchedulerClientOptions options_;
  std::shared_ptr<TransportContext> context_;
  std::unique_ptr<DealerLink> link_;
  uint64_t last_request_ = 0;
};

}  // namespace lorry
