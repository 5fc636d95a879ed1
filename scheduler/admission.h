// From what a client submits to a run that can be queued: checked again, every name resolved to a digest, refused early with the
// key that is wrong. Nothing is stored here.
#pragma once

#include "base/result.h"
#include "base/wire_client.h"
#include "scheduler/blob_desk.h"
#include "scheduler/ports.h"
#include "scheduler/state.h"

namespace lorry {

struct Admission {
  RunSpec spec;
  RunId existing;  // the same submission was made before: this run, and `spec` is empty
};

// What a home's policy.yaml says of submissions.
struct AdmissionPolicy {
  bool wait_for_unknown_gpu = false;  // a GPU kind that no worker has: the run waits for one instead of being refused
};

// `registry` may be null: then names are refused. Errors: kSpec with the key, kUsage for another job under a submission id that
// is taken, kNotFound where input blobs were not sent.
Result<Admission> Admit(const wire::Submit& submit, const State& state, Database& db, RegistryPort* registry,
                        const BlobDesk& blobs, AdmissionPolicy policy);

// The same for Plan, which has no submission id and needs no blobs.
Result<RunSpec> AdmitPlan(const wire::Plan& plan, const State& state, Database& db, RegistryPort* registry,
                          AdmissionPolicy policy);

// "r-" and 12 letters or digits of the system's randomness.
RunId MakeRunId();

}  // namespace lorry
