// What a run is of: everything that its bytes depend on. It stands in each checkpoint, and a run goes on only from one that is of
// the same job on the same kind of device.
#pragma once

#include <cstdint>
#include <string>

#include "base/hash.h"
#include "base/result.h"

namespace lorry::trainers {

struct RunIdentity {
  // What is trained on what: another of these is another job.
  std::string job;            // training_options.h, DecidingPartOf
  std::string base_model;     // digest of config.json and of the headers and sizes of the weights
  std::string training_data;  // digests of the files; empty: none
  std::string validation_data;
  std::string initial_adapter;

  // What computes it: the promise of equal bytes holds for one of these.
  std::string device;  // "cpu: avx512-bf16" (model/net/arithmetic.h); "gpu: NVIDIA H200"
  int64_t threads_per_lane = 1;
  std::string libraries;  // our kernels' version, LibTorch, oneDNN, MKL
  std::string build;      // Lorry's version

  std::string ToJson() const;
  static Result<RunIdentity> FromJson(std::string_view text);  // kData
};

// Whether a checkpoint of `old` may be continued as `now`. kSpec, naming the difference; a difference of device, threads or
// libraries is let pass where `other_device` is set.
Status MayContinue(const RunIdentity& old, const RunIdentity& now, bool other_device);

// Digests for the identity.
Result<std::string> BaseModelDigest(const std::string& directory);
Result<std::string> AdapterDigest(const std::string& directory);

}  // namespace lorry::trainers
