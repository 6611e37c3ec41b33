// L1's copies of tokens. A slot is usable only under the stamp it was fetched under (the generation of
// the listener's connection, or the embedded store's change counter) and before its deadline. Lock-free to
// read; changed under a stripe's mutex.
//
// Reading order (Slot::Matches): token, stamp, deadline, token again. Tokens are never reused, so a token
// seen twice around the other two belongs to them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "smartcache/clock.h"
#include "smartcache/tag.h"

namespace smartcache {

class Slot {
 public:
  // True when the slot held `token` under `stamp` at `now`, at some moment during the call.
  [[nodiscard]] bool Matches(Token token, std::uint64_t stamp, Instant now) const {
    if (token_.load(std::memory_order_acquire) != token) return false;
    const bool usable = stamp_.load(std::memory_order_acquire) == stamp &&
                        now.count() < deadline_.load(std::memory_order_acquire);
    return usable && token_.load(std::memory_order_acquire) == token;
  }
  // The token if usable under `stamp` at `now`, else kNoToken.
  [[nodiscard]] Token Usable(std::uint64_t stamp, Instant now) const {
    const Token token = token_.load(std::memory_order_acquire);
    return token != kNoToken && Matches(token, stamp, now) ? token : kNoToken;
  }
  // Changes with every drop: a fetch notes it before it is sent.
  [[nodiscard]] std::uint64_t version() const { return version_.load(std::memory_order_acquire); }

 private:
  friend class Slots;
  std::atomic<Token> token_{kNoToken};
  std::atomic<std::uint64_t> stamp_{0};
  std::atomic<std::int64_t> deadline_{0};
  std::atomic<std::uint64_t> version_{1};
};
using SlotRef = std::shared_ptr<Slot>;

class Slots {
 public:
  // The slot of `tag`, made if there is none.
  SlotRef Acquire(Tag tag);
  // Installs a fetched token, unless the slot was dropped since `version` was noted. False if it was.
  bool Install(Tag tag, Slot& slot, std::uint64_t version, Token token, std::uint64_t stamp, Instant deadline);
  // The tag's token is gone: forget it, and every fetch of it under way.
  void Drop(Tag tag);
  void DropAll();
  // How many slots there are; sweeps those that nothing refers to when they are more than `bound`.
  std::size_t Sweep(std::size_t bound);
  [[nodiscard]] std::size_t size() const;
  // Changes whenever any slot changes: what was fresh at a value still is, while it stays.
  [[nodiscard]] std::uint64_t changes() const { return changes_.load(std::memory_order_acquire); }

 private:
  struct Stripe {
    mutable Mutex mutex;
    std::unordered_map<Tag, SlotRef> slots GUARDED_BY(mutex);
  };
  static constexpr std::size_t kStripes = 64;
  Stripe& StripeOf(Tag tag) { return stripes_[(tag * 0x9E3779B97F4A7C15u) >> 58]; }
  static void Forget(Slot& slot);

  std::array<Stripe, kStripes> stripes_;
  alignas(64) std::atomic<std::uint64_t> changes_{1};
};

}  // namespace smartcache
