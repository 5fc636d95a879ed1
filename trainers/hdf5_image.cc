#include "trainers/hdf5_image.h"

#include <fmt/format.h>
#include <hdf5.h>

#include <atomic>
#include <mutex>
#include <utility>

namespace lorry::trainers {

// One HDF5 identifier, closed by the function that fits its sort.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;
  ~Hdf5Handle() { Close(); }
  void Close() {
    if (id_ >= 0) close_(std::exchange(id_, -1));
  }
  bool ok() const { return id_ >= 0; }
  hid_t id() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

namespace {

std::mutex& LibraryLock() {
  static std::mutex lock;
  return lock;
}

// The oldest file format: H5Fget_file_image (1.10.8) clears the flags of a newer superblock and leaves its checksum as it was, so
// that the image cannot be opened.
Hdf5Handle CoreDriver() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  constexpr size_t kGrowth = size_t{4} << 20;
  H5Pset_fapl_core(access.id(), kGrowth, /*backing_store=*/0);
  return access;
}

// HDF5 takes two open images of one name for one file.
std::string UniqueName() {
  static std::atomic<uint64_t> next = 0;
  return fmt::format("image-{}", next++);
}

Hdf5Handle LinkList() {
  Hdf5Handle list(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(list.id(), 1);
  return list;
}

Hdf5Handle DatasetList() {
  Hdf5Handle list(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(list.id(), 0);
  return list;
}

template <class T>
hid_t NativeType();
template <>
hid_t NativeType<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t NativeType<double>() {
  return H5T_NATIVE_DOUBLE;
}
template <>
hid_t NativeType<int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t NativeType<int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t NativeType<uint8_t>() {
  return H5T_NATIVE_UINT8;
}

Error Failed(const std::string& what) { return MakeError(ErrorCode::kInternal, "HDF5: " + what); }

template <class T>
Status AddValues(hid_t file, const std::string& path, std::span<const T> values) {
  const std::lock_guard lock(LibraryLock());
  const hsize_t count = values.size();
  const Hdf5Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  const Hdf5Handle links = LinkList();
  const Hdf5Handle options = DatasetList();
  const Hdf5Handle set(H5Dcreate2(file, path.c_str(), NativeType<T>(), space.id(), links.id(), options.id(), H5P_DEFAULT),
                       H5Dclose);
  if (!set.ok()) return Failed("cannot add " + path);
  if (count > 0 && H5Dwrite(set.id(), NativeType<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) {
    return Failed("cannot write " + path);
  }
  return OkStatus();
}

template <class T>
Result<std::vector<T>> ReadValues(hid_t file, const std::string& path, const std::string& name) {
  const std::lock_guard lock(LibraryLock());
  const Hdf5Handle set(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!set.ok()) return MakeError(ErrorCode::kData, fmt::format("{}: has no {}", name, path));
  const Hdf5Handle type(H5Dget_type(set.id()), H5Tclose);
  const Hdf5Handle space(H5Dget_space(set.id()), H5Sclose);
  hsize_t count = 0;
  if (H5Tequal(type.id(), NativeType<T>()) <= 0 || H5Sget_simple_extent_ndims(space.id()) != 1 ||
      H5Sget_simple_extent_dims(space.id(), &count, nullptr) != 1) {
    return MakeError(ErrorCode::kData, fmt::format("{}: {} has another type or shape than this version writes", name, path));
  }
  std::vector<T> values(count);
  if (count > 0 && H5Dread(set.id(), NativeType<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) {
    return MakeError(ErrorCode::kData, fmt::format("{}: cannot read {}", name, path));
  }
  return values;
}

}  // namespace

struct Hdf5Builder::State {
  Hdf5Handle file;
};

Hdf5Builder::Hdf5Builder() {
  const std::lock_guard lock(LibraryLock());
  const Hdf5Handle access = CoreDriver();
  const Hdf5Handle create(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(create.id(), 0);
  state_ = std::make_unique<State>(
      State{Hdf5Handle(H5Fcreate(UniqueName().c_str(), H5F_ACC_TRUNC, create.id(), access.id()), H5Fclose)});
}

Hdf5Builder::~Hdf5Builder() {
  const std::lock_guard lock(LibraryLock());
  state_.reset();
}

Status Hdf5Builder::Add(const std::string& path, std::span<const float> v) { return AddValues(state_->file.id(), path, v); }
Status Hdf5Builder::Add(const std::string& path, std::span<const double> v) { return AddValues(state_->file.id(), path, v); }
Status Hdf5Builder::Add(const std::string& path, std::span<const int32_t> v) { return AddValues(state_->file.id(), path, v); }
Status Hdf5Builder::Add(const std::string& path, std::span<const int64_t> v) { return AddValues(state_->file.id(), path, v); }
Status Hdf5Builder::Add(const std::string& path, std::span<const uint8_t> v) { return AddValues(state_->file.id(), path, v); }

// Text is a data set of bytes: an attribute may hold no more than 64 kB.
Status Hdf5Builder::AddText(const std::string& name, std::string_view text) {
  return Add("text/" + name, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

Result<std::string> Hdf5Builder::Finish() {
  const std::lock_guard lock(LibraryLock());
  if (H5Fflush(state_->file.id(), H5F_SCOPE_GLOBAL) < 0) return Failed("cannot flush the image");
  const ssize_t size = H5Fget_file_image(state_->file.id(), nullptr, 0);
  if (size <= 0) return Failed("cannot measure the image");
  std::string bytes(static_cast<size_t>(size), '\0');
  if (H5Fget_file_image(state_->file.id(), bytes.data(), bytes.size()) != size) return Failed("cannot take the image");
  state_->file.Close();
  return bytes;
}

struct Hdf5Image::State {
  Hdf5Handle file;
  std::string name;
};

Hdf5Image::Hdf5Image(std::unique_ptr<State> state) : state_(std::move(state)) {}

Hdf5Image::~Hdf5Image() {
  const std::lock_guard lock(LibraryLock());
  state_.reset();
}

Result<std::unique_ptr<Hdf5Image>> Hdf5Image::Open(std::string_view bytes, std::string name) {
  const std::lock_guard lock(LibraryLock());
  Hdf5Handle access = CoreDriver();
  H5Pset_file_image(access.id(), const_cast<char*>(bytes.data()), bytes.size());
  Hdf5Handle file(H5Fopen(UniqueName().c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
  if (!file.ok()) return MakeError(ErrorCode::kData, name + ": not a whole HDF5 file");
  return std::unique_ptr<Hdf5Image>(new Hdf5Image(std::make_unique<State>(State{std::move(file), std::move(name)})));
}

Result<std::vector<float>> Hdf5Image::Floats(const std::string& path) const {
  return ReadValues<float>(state_->file.id(), path, state_->name);
}
Result<std::vector<double>> Hdf5Image::Doubles(const std::string& path) const {
  return ReadValues<double>(state_->file.id(), path, state_->name);
}
Result<std::vector<int32_t>> Hdf5Image::Int32s(const std::string& path) const {
  return ReadValues<int32_t>(state_->file.id(), path, state_->name);
}
Result<std::vector<int64_t>> Hdf5Image::Int64s(const std::string& path) const {
  return ReadValues<int64_t>(state_->file.id(), path, state_->name);
}
Result<std::vector<uint8_t>> Hdf5Image::Bytes(const std::string& path) const {
  return ReadValues<uint8_t>(state_->file.id(), path, state_->name);
}
Result<std::string> Hdf5Image::Text(const std::string& name) const {
  LORRY_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, Bytes("text/" + name));
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace lorry::trainers
