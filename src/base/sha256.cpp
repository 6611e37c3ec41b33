#include "base/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/sha256_blocks.h"

namespace smartcache {
namespace {

constexpr std::size_t kBlock = 64;
// FIPS 180-4, 5.3.3.
constexpr Sha256State kInitial = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

void StoreBigEndian(std::uint8_t* at, std::uint64_t value, int bytes) {
  for (int i = bytes; i-- > 0; value >>= 8) at[i] = static_cast<std::uint8_t>(value);
}

Sha256State PadState(std::string_view key, std::uint8_t pad) {
  std::array<char, kBlock> block;
  block.fill(static_cast<char>(pad));
  for (std::size_t i = 0; i < key.size(); ++i) block[i] = static_cast<char>(block[i] ^ key[i]);
  Sha256 hash;
  hash.Update({block.data(), block.size()});
  return hash.state();
}

}  // namespace

Sha256::Sha256() : state_(kInitial) {}

void Sha256::Update(std::string_view bytes) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t left = bytes.size();
  const std::size_t waiting = bytes_ % kBlock;
  bytes_ += left;
  if (waiting > 0) {
    const std::size_t taken = std::min(left, kBlock - waiting);
    std::copy_n(at, taken, block_.data() + waiting);
    if (waiting + taken < kBlock) return;
    Sha256Blocks(state_, block_.data(), 1);
    at += taken;
    left -= taken;
  }
  if (left >= kBlock) Sha256Blocks(state_, at, left / kBlock);
  std::copy_n(at + left / kBlock * kBlock, left % kBlock, block_.data());
}

Sha256Digest Sha256::Finish() {
  const std::size_t waiting = bytes_ % kBlock;
  std::array<std::uint8_t, 2 * kBlock> tail{};
  std::copy_n(block_.data(), waiting, tail.data());
  tail[waiting] = 0x80;
  const std::size_t blocks = waiting + 9 > kBlock ? 2 : 1;
  StoreBigEndian(&tail[blocks * kBlock - 8], bytes_ * 8, 8);
  Sha256Blocks(state_, tail.data(), blocks);
  Sha256Digest digest;
  for (std::size_t i = 0; i < state_.size(); ++i) StoreBigEndian(&digest[4 * i], state_[i], 4);
  return digest;
}

Sha256Digest Sha256Of(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

HmacKey::HmacKey(std::string_view key) {
  Sha256Digest digest;
  if (key.size() > kBlock) {
    digest = Sha256Of(key);
    key = {reinterpret_cast<const char*>(digest.data()), digest.size()};
  }
  inner = PadState(key, 0x36);
  outer = PadState(key, 0x5c);
}

Sha256Digest FinishHmac(const HmacKey& key, Sha256& inner_hash) {
  const Sha256Digest inner = inner_hash.Finish();
  Sha256 outer_hash(key.outer, kBlock);
  outer_hash.Update({reinterpret_cast<const char*>(inner.data()), inner.size()});
  return outer_hash.Finish();
}

bool EqualInConstantTime(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  __asm__(""
          : "+r"(difference));  // unknown to the compiler, so that it cannot leave the loop early
  return difference == 0;
}

}  // namespace smartcache
