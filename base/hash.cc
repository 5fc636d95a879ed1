#include "base/hash.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "base/files.h"

namespace lorry {
namespace {

constexpr size_t kReadBytes = 1 << 20;

EVP_MD_CTX* NewContext(const EVP_MD* kind) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  if (context == nullptr || EVP_DigestInit_ex(context, kind, nullptr) != 1) std::abort();  // out of memory only
  return context;
}

}  // namespace

Result<Digest> Digest::FromHex(std::string_view hex) {
  std::array<uint8_t, 32> bytes{};
  const Error error = MakeError(ErrorCode::kData, "a SHA-256 has 64 lower-case hex digits");
  if (hex.size() != 64) return error;
  for (size_t i = 0; i < 64; ++i) {
    const char c = hex[i];
    const int nibble = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (nibble < 0) return error;
    bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] << 4 | nibble);
  }
  return Digest(bytes);
}

std::string Digest::hex() const { return ToHex({reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}); }

struct Sha256::State {
  EVP_MD_CTX* context = NewContext(EVP_sha256());
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(std::string_view bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }
void Sha256::Update(std::span<const std::byte> bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }

Digest Sha256::Finish() {
  std::array<uint8_t, 32> out;
  EVP_DigestFinal_ex(state_->context, out.data(), nullptr);
  return Digest(out);
}

Digest Sha256Of(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

Result<Digest> Sha256OfFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("cannot open", path);
  Sha256 hash;
  std::vector<char> buffer(kReadBytes);
  ssize_t got;
  while ((got = ::read(fd, buffer.data(), buffer.size())) > 0)
    hash.Update(std::string_view(buffer.data(), static_cast<size_t>(got)));
  const Status status = got < 0 ? Status(ErrnoError("cannot read", path)) : OkStatus();
  ::close(fd);
  if (!status.ok()) return status.error();
  return hash.Finish();
}

std::string GitBlobSha1(std::string_view bytes) {
  EVP_MD_CTX* context = NewContext(EVP_sha1());
  const std::string head = "blob " + std::to_string(bytes.size());
  EVP_DigestUpdate(context, head.c_str(), head.size() + 1);
  EVP_DigestUpdate(context, bytes.data(), bytes.size());
  std::array<unsigned char, 20> out;
  EVP_DigestFinal_ex(context, out.data(), nullptr);
  EVP_MD_CTX_free(context);
  return ToHex({reinterpret_cast<const char*>(out.data()), out.size()});
}

uint32_t Crc32c(std::string_view bytes, uint32_t crc) {
  static const auto table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82F63B78u : 0u);
      entries[i] = value;
    }
    return entries;
  }();
  crc = ~crc;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

std::string ToHex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    hex.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    hex.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return hex;
}

}  // namespace lorry
