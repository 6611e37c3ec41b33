#include "smartcache/tag.h"

#include "base/hash.h"

namespace smartcache {
namespace {

// Keep the hash families apart; any two values would do.
constexpr std::uint64_t kScopeSeed = 0x736d617274736370;
constexpr std::uint64_t kKeySeed = 0x736d6172746b6579;
constexpr std::uint64_t kBucketMask = std::uint64_t{0xff} << 56;

}  // namespace

Tag MakeTag(TagKind kind, std::string_view scope, std::string_view detail) {
  // The scope's hash seeds the detail's, so that no text can move from one to the other, and
  // nothing is copied.
  const std::uint64_t bucket = Hash64(scope, kScopeSeed);
  const std::uint64_t seed = Hash64(scope, kScopeSeed + static_cast<unsigned char>(kind));
  return (bucket & kBucketMask) | (Hash64(detail, seed) & ~kBucketMask);
}

Tag KeyTag(std::string_view key) { return Hash64(key, kKeySeed); }

}  // namespace smartcache
