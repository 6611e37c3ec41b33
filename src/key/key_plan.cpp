#include "key/key_plan.h"

#include "base/sha256.h"
#include "key/key_text.h"

namespace smartcache {
namespace {

constexpr std::size_t kReadableBytes = 120;
constexpr std::size_t kDigestBytes = 16;

}  // namespace

KeyTemplate::KeyTemplate(const std::vector<std::string>& literals) {
  for (std::size_t i = 0; i < literals.size(); ++i) {
    const bool has_field = i + 1 < literals.size();
    bool wrapped = false;
    if (has_field) {
      const std::string& next = literals[i + 1];
      const bool another_field_follows = next.empty() && i + 2 < literals.size();
      wrapped = another_field_follows || (!next.empty() && MayContinueValue(next[0]));
    }
    parts_.push_back({literals[i], has_field, i, wrapped});
  }
}

void ShortenKey(std::string& key) {
  if (key.size() <= kMaxKeyBytes) return;
  constexpr char kHex[] = "0123456789abcdef";
  const Sha256Digest digest = Sha256Of(key);
  std::size_t kept = kReadableBytes;
  // Not in the middle of a character: continuation bytes of UTF-8 are 10xxxxxx.
  while (kept > 0 && (static_cast<unsigned char>(key[kept]) & 0xc0) == 0x80) --kept;
  key.resize(kept);
  key += '~';
  for (std::size_t i = 0; i < kDigestBytes; ++i) {
    key += kHex[digest[i] >> 4];
    key += kHex[digest[i] & 15];
  }
}

}  // namespace smartcache
