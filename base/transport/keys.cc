#include "base/transport/keys.h"

#include <sys/stat.h>
#include <zmq.h>

#include <fmt/format.h>

#include "base/files.h"
#include "base/text.h"

namespace lorry {
namespace {

constexpr size_t kZ85Bytes = 40;

bool IsZ85Key(const std::string& text) {
  uint8_t bytes[32];
  return text.size() == kZ85Bytes && zmq_z85_decode(bytes, text.c_str()) != nullptr;
}

Result<std::string> ReadKey(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(path, 4096));
  std::string key(Trim(text));
  if (!IsZ85Key(key)) return MakeError(ErrorCode::kData, fmt::format("{} is not a key: expected 40 characters of Z85", path));
  return key;
}

// Every *.public file of a folder; a file that is no key lets nobody in.
void AddKeysIn(const std::string& directory, std::set<std::string>* keys) {
  auto names = ListDirectory(directory);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (!name.ends_with(".public")) continue;
    auto key = ReadKey(directory + "/" + name);
    if (key.ok()) keys->insert(std::move(key).value());
  }
}

std::set<std::string> AllowedKeys(const std::string& home, const std::string& role) {
  std::set<std::string> keys;
  auto own = ReadKey(fmt::format("{}/{}.public", KeysDirectory(home), role));
  if (own.ok()) keys.insert(std::move(own).value());
  AddKeysIn(fmt::format("{}/{}s", KeysDirectory(home), role), &keys);
  return keys;
}

}  // namespace

KeyPair MakeKeyPair() {
  char public_key[kZ85Bytes + 1];
  char secret_key[kZ85Bytes + 1];
  zmq_curve_keypair(public_key, secret_key);
  return KeyPair{public_key, secret_key};
}

Status WriteKeyPair(const std::string& directory, const std::string& name, const KeyPair& pair) {
  LORRY_TRY(MakeDirectories(directory, 0700));
  LORRY_TRY(WriteFileAtomically(fmt::format("{}/{}.secret", directory, name), pair.secret_key + "\n", 0600));
  return WriteFileAtomically(fmt::format("{}/{}.public", directory, name), pair.public_key + "\n", 0644);
}

Result<KeyPair> ReadKeyPair(const std::string& directory, const std::string& name) {
  const std::string secret_path = fmt::format("{}/{}.secret", directory, name);
  struct stat about;
  if (stat(secret_path.c_str(), &about) == 0 && (about.st_mode & 077) != 0) {
    return MakeError(ErrorCode::kNotAllowed,
                     fmt::format("{} can be read by others (mode {:04o})", secret_path, about.st_mode & 07777),
                     fmt::format("chmod 600 {}", secret_path));
  }
  LORRY_ASSIGN_OR_RETURN(std::string secret_key, ReadKey(secret_path));
  LORRY_ASSIGN_OR_RETURN(std::string public_key, ReadKey(fmt::format("{}/{}.public", directory, name)));
  char derived[kZ85Bytes + 1];
  if (zmq_curve_public(derived, secret_key.c_str()) != 0 || public_key != derived) {
    return MakeError(ErrorCode::kData, fmt::format("{}/{}.public and .secret do not belong together", directory, name));
  }
  return KeyPair{public_key, secret_key};
}

Result<std::string> ReadPublicKey(const std::string& path) { return ReadKey(path); }

std::string KeysDirectory(const std::string& home) { return home + "/keys"; }

Status MakeHomeKeys(const std::string& home) {
  for (const char* name : {"scheduler", "worker", "client"}) {
    if (FileExists(fmt::format("{}/{}.public", KeysDirectory(home), name))) continue;
    LORRY_TRY(WriteKeyPair(KeysDirectory(home), name, MakeKeyPair()));
  }
  return OkStatus();
}

std::set<std::string> AllowedClientKeys(const std::string& home) { return AllowedKeys(home, "client"); }

std::set<std::string> AllowedWorkerKeys(const std::string& home) { return AllowedKeys(home, "worker"); }

}  // namespace lorry
