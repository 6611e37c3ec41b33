// The envelope: magic and version, code (16 bytes), and under it
//   flags, codec, [epoch, 8], [identity, 8], [hard TTL], [soft TTL], cost in microseconds,
//   number of tags, tags and tokens (8 + 8 each), length of the key, key, payload to the end.
// TTLs (in nanoseconds), cost, number and length are varints. What is in brackets is there if its
// flag says so. The code is HMAC-SHA256 over all other bytes, cut to half as RFC 2104, 5, allows.
#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "base/sha256.h"
#include "smartcache/entry.h"

namespace smartcache {
namespace {

// High bit and no ASCII: not the beginning of a pickle, of JSON or of compressed data. Change the
// second byte with the format.
constexpr std::string_view kMagic = "\xdc\x01";
constexpr std::size_t kCodeBytes = 16;
constexpr std::size_t kBodyAt = kMagic.size() + kCodeBytes;
constexpr std::size_t kTagBytes = sizeof(TagToken);
static_assert(kTagBytes == 16);

enum Flag : std::uint8_t {
  kHasEpoch = 1,
  kHasIdentity = 2,
  kNeverExpires = 4,  // no hard TTL
  kHasSoftTtl = 8,    // one that differs from the hard TTL
  kSoftNever = 16,    // no soft TTL either
  kAllFlags = 31,
};

using AuthCode = std::array<std::uint8_t, kCodeBytes>;

AuthCode CodeOf(const EntryKey& secret, std::string_view body) {
  const HmacKey key(secret.inner, secret.outer);
  Sha256 hash = BeginHmac(key);
  hash.Update(kMagic);
  hash.Update(body);
  const Sha256Digest digest = FinishHmac(key, hash);
  AuthCode code;
  std::copy_n(digest.begin(), code.size(), code.begin());
  return code;
}

std::uint64_t CountOf(Duration span) {
  return static_cast<std::uint64_t>(std::max<Duration::rep>(span.count(), 0));
}

// A TTL that was written by CountOf and is not kNever.
std::optional<Duration> SpanOf(std::uint64_t count) {
  if (count >= CountOf(kNever)) return std::nullopt;
  return Duration(static_cast<Duration::rep>(count));
}

bool DecodeHeader(ByteReader& in, EntryHeader& header) {
  const std::uint8_t flags = in.Byte();
  if ((flags & ~kAllFlags) != 0) return false;
  header.codec = in.Byte();
  if ((flags & kHasEpoch) != 0) header.epoch = in.Fixed<std::uint64_t>();
  if ((flags & kHasIdentity) != 0) header.identity = in.Fixed<std::uint64_t>();
  const auto hard = (flags & kNeverExpires) != 0 ? kNever : SpanOf(in.Varint());
  const auto soft = (flags & kSoftNever) != 0    ? kNever
                    : (flags & kHasSoftTtl) != 0 ? SpanOf(in.Varint())
                                                 : hard;
  const auto cost = SpanOf(in.Varint());
  if (!hard || !soft || !cost || *cost > kNever / 1000) return false;
  header.hard_ttl = *hard;
  header.soft_ttl = *soft;
  header.cost = *cost * 1000;
  const std::uint64_t tags = in.Varint();
  if (tags > in.left() / kTagBytes) return false;
  header.tags.reserve(tags);
  for (std::uint64_t i = 0; i < tags; ++i) {
    const Tag tag = in.Fixed<Tag>();
    header.tags.push_back({tag, in.Fixed<Token>()});
  }
  return in.ok();
}

}  // namespace

EntryKey::EntryKey(const Secret& secret) {
  const HmacKey key({reinterpret_cast<const char*>(secret.data()), secret.size()});
  inner = key.inner;
  outer = key.outer;
}

std::string EncodeEntry(const EntryKey& secret, std::string_view key, const EntryHeader& header,
                        std::string_view payload) {
  std::uint8_t flags = 0;
  if (header.epoch != 0) flags |= kHasEpoch;
  if (header.identity != 0) flags |= kHasIdentity;
  if (header.hard_ttl == kNever) flags |= kNeverExpires;
  if (header.soft_ttl != header.hard_ttl) {
    flags |= header.soft_ttl == kNever ? kSoftNever : kHasSoftTtl;
  }
  constexpr std::size_t kMostFixed = kBodyAt + 2 + 16 + 5 * kMaxVarintBytes;
  std::string out;
  out.resize(kMostFixed + header.tags.size() * kTagBytes + key.size() + payload.size());
  char* at = out.data() + kBodyAt;
  *at++ = static_cast<char>(flags);
  *at++ = static_cast<char>(header.codec);
  if ((flags & kHasEpoch) != 0) at = PutFixed(at, header.epoch);
  if ((flags & kHasIdentity) != 0) at = PutFixed(at, header.identity);
  if ((flags & kNeverExpires) == 0) at = PutVarint(at, CountOf(header.hard_ttl));
  if ((flags & kHasSoftTtl) != 0) at = PutVarint(at, CountOf(header.soft_ttl));
  at = PutVarint(at, CountOf(header.cost) / 1000);
  at = PutVarint(at, header.tags.size());
  for (const TagToken& pair : header.tags) at = PutFixed(PutFixed(at, pair.tag), pair.token);
  at = std::copy(key.begin(), key.end(), PutVarint(at, key.size()));
  at = std::copy(payload.begin(), payload.end(), at);
  out.resize(static_cast<std::size_t>(at - out.data()));
  const AuthCode code = CodeOf(secret, std::string_view(out).substr(kBodyAt));
  std::copy(kMagic.begin(), kMagic.end(), out.begin());
  std::copy(code.begin(), code.end(), out.begin() + kMagic.size());
  return out;
}

Result<EntryView> DecodeEntry(const EntryKey& secret, std::string_view key,
                              std::string_view envelope) {
  if (envelope.size() < kBodyAt || !envelope.starts_with(kMagic)) {
    return Corrupt("not an entry of this format");
  }
  AuthCode said;
  std::copy_n(envelope.begin() + kMagic.size(), said.size(), said.begin());
  const std::string_view body = envelope.substr(kBodyAt);
  if (!EqualInConstantTime(said, CodeOf(secret, body))) return Corrupt("not authentic");
  ByteReader in(body);
  EntryView entry;
  if (!DecodeHeader(in, entry.header)) return Corrupt("malformed header");
  entry.key = in.Take(in.Varint());
  if (!in.ok()) return Corrupt("malformed key");
  if (entry.key != key) return Corrupt("the entry of another key");
  entry.payload = in.Take(in.left());
  return entry;
}

}  // namespace smartcache
