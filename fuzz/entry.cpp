// The envelope's decoder: on any bytes, which must never pass for authentic, and behind the
// authentication code, where any body is sealed as if by one who holds the secret.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/sha256.h"
#include "expect.h"
#include "smartcache/entry.h"

namespace {

using namespace smartcache;

constexpr Secret kSecret = {1, 2, 3};

std::string Sealed(std::string_view body) {
  static const std::string magic = EncodeEntry(kSecret, "", {}, "").substr(0, 2);
  const HmacKey key({reinterpret_cast<const char*>(kSecret.data()), kSecret.size()});
  Sha256 hash = BeginHmac(key);
  hash.Update(magic);
  hash.Update(body);
  const Sha256Digest digest = FinishHmac(key, hash);
  return magic + std::string(digest.begin(), digest.begin() + 16) + std::string(body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Expect(!DecodeEntry(kSecret, "", bytes).ok());
  const std::string envelope = Sealed(bytes);
  // The empty key, so that the input need not guess one.
  const auto entry = DecodeEntry(kSecret, "", envelope);
  if (!entry.ok()) return 0;
  const std::string again = EncodeEntry(kSecret, "", entry->header, entry->payload);
  const auto same = DecodeEntry(kSecret, "", again);
  Expect(same.ok() && same->payload == entry->payload);
  Expect(same->header.tags == entry->header.tags && same->header.codec == entry->header.codec);
  Expect(same->header.epoch == entry->header.epoch);
  Expect(same->header.identity == entry->header.identity);
  Expect(same->header.hard_ttl == entry->header.hard_ttl);
  Expect(same->header.soft_ttl == entry->header.soft_ttl &&
         same->header.cost == entry->header.cost);
  return 0;
}
