// HDF5 files as whole images in memory: written once, never grown.
//
// A growing HDF5 file is unreadable after a crash, and its library hides the reason of a failed write. So a file is built in
// memory (the library's core driver), and its bytes are then written, flushed and renamed by our own code; reading opens the
// bytes after their digest was checked. Objects carry no times, so equal content gives equal bytes.
//
// Threads: HDF5 is not built for threads; all images of a process are used from one thread at a time (a lock inside sees to it).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::trainers {

// Builds an image: one-dimensional data sets; a text NAME is the bytes of a data set text/NAME.
class Hdf5Builder {
 public:
  Hdf5Builder();
  Hdf5Builder(const Hdf5Builder&) = delete;
  Hdf5Builder& operator=(const Hdf5Builder&) = delete;
  ~Hdf5Builder();

  // A path such as "optimizer/first_moment" makes the groups on its way.
  Status Add(const std::string& path, std::span<const float> values);
  Status Add(const std::string& path, std::span<const double> values);
  Status Add(const std::string& path, std::span<const int32_t> values);
  Status Add(const std::string& path, std::span<const int64_t> values);
  Status Add(const std::string& path, std::span<const uint8_t> values);
  Status AddText(const std::string& name, std::string_view text);

  // The whole file; the builder is empty afterwards.
  Result<std::string> Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads an image. The bytes are copied by the library and need not outlive Open.
class Hdf5Image {
 public:
  // `name` stands in error texts. Errors: kData.
  static Result<std::unique_ptr<Hdf5Image>> Open(std::string_view bytes, std::string name);
  Hdf5Image(const Hdf5Image&) = delete;
  Hdf5Image& operator=(const Hdf5Image&) = delete;
  ~Hdf5Image();

  // Errors (kData): no such data set, another type, not one-dimensional.
  Result<std::vector<float>> Floats(const std::string& path) const;
  Result<std::vector<double>> Doubles(const std::string& path) const;
  Result<std::vector<int32_t>> Int32s(const std::string& path) const;
  Result<std::vector<int64_t>> Int64s(const std::string& path) const;
  Result<std::vector<uint8_t>> Bytes(const std::string& path) const;
  Result<std::string> Text(const std::string& name) const;

 private:
  struct State;
  explicit Hdf5Image(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace lorry::trainers
