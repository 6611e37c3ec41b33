// SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104): the core needs no OpenSSL for them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace smartcache {

using Sha256State = std::array<std::uint32_t, 8>;
using Sha256Digest = std::array<std::uint8_t, 32>;

// Hashes bytes as they come. Copying one copies its progress.
class Sha256 {
 public:
  Sha256();
  // Goes on from `state`, reached after `bytes` (a multiple of 64).
  Sha256(const Sha256State& state, std::uint64_t bytes) : state_(state), bytes_(bytes) {}
  void Update(std::string_view bytes);
  // Ends the hash; no further use.
  [[nodiscard]] Sha256Digest Finish();
  // After whole blocks only.
  [[nodiscard]] const Sha256State& state() const { return state_; }

 private:
  Sha256State state_;
  std::uint64_t bytes_ = 0;
  std::array<std::uint8_t, 64> block_;  // the first bytes_ % 64 are waiting
};

[[nodiscard]] Sha256Digest Sha256Of(std::string_view bytes);

// A key with its two pads hashed beforehand: saves two of the at least four blocks of each message.
struct HmacKey {
  explicit HmacKey(std::string_view key);
  HmacKey(const Sha256State& inner_state, const Sha256State& outer_state)
      : inner(inner_state), outer(outer_state) {}
  Sha256State inner;
  Sha256State outer;
};

// HMAC of what is fed to `inner_hash`, begun with BeginHmac.
[[nodiscard]] inline Sha256 BeginHmac(const HmacKey& key) { return {key.inner, 64}; }
[[nodiscard]] Sha256Digest FinishHmac(const HmacKey& key, Sha256& inner_hash);

// Whether equal, in a time that does not depend on where they differ.
[[nodiscard]] bool EqualInConstantTime(std::span<const std::uint8_t> a,
                                       std::span<const std::uint8_t> b);

}  // namespace smartcache
