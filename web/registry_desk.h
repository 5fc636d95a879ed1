// The registry as the scheduler, its clients and Hugging Face clients see it: names resolved at submission, an adapter published
// in the transaction in which its run ends, the queries registry.* (docs/formats/queries.md), and the read face over HTTP.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/store/store.h"
#include "registry/blob_store.h"
#include "scheduler/ports.h"
#include "scheduler/queries.h"
#include "web/http_server.h"

namespace lorry {

// `home` is $LORRY_HOME: the blobs lie in it.
std::unique_ptr<RegistryPort> MakeRegistryPort(const std::string& home);
void AddRegistryQueries(QueryTable* table, const std::string& home);

// True for requests that a Hugging Face client makes: /api/models..., /ORG/NAME/resolve/... and the like.
bool IsHubRequest(const HttpRequest& request);
// Their answers. `may_read_private`: the token, or loopback without tokens, allows it; `user`: whose token it is, empty: none.
HttpResponse AnswerHubRequest(Database& db, const std::string& home, const HttpRequest& request, bool may_read_private,
                              const std::string& user);

}  // namespace lorry
