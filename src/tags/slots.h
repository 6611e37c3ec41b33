// L1's copies of tokens. A slot is usable only under the stamp it was fetched under (the generation
// of the listener's connection, or the embedded store's change counter) and before its deadline.
// Lock-free to read; changed under a stripe's mutex.
//
// Reading order (Slot::UsableUntil): token, stamp, deadline, token again. Writing order
// (Slots::Install): token away, deadline, stamp, token. Who reads a new stamp or deadline therefore
// finds the old token gone. A fetch goes: Acquire, note version(), send, Install. What is dropped
// in between refuses the install.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "smartcache/clock.h"
#include "smartcache/tag.h"

namespace smartcache {

class Slot {
 public:
  // The deadline of `token` when the slot held it under `stamp` at some moment during the call,
  // else the smallest Instant, which is before any `now`.
  [[nodiscard]] Instant UsableUntil(Token token, std::uint64_t stamp) const {
    if (token == kNoToken || token_.load(std::memory_order_acquire) != token) return Instant::min();
    const std::uint64_t seen_stamp = stamp_.load(std::memory_order_acquire);
    const Instant deadline(deadline_.load(std::memory_order_acquire));
    const bool held = seen_stamp == stamp && token_.load(std::memory_order_acquire) == token;
    return held ? deadline : Instant::min();
  }
  // True when the slot held `token` under `stamp` at `now`, at some moment during the call.
  [[nodiscard]] bool Matches(Token token, std::uint64_t stamp, Instant now) const {
    return now < UsableUntil(token, stamp);
  }
  // The token if usable under `stamp` at `now`, else kNoToken.
  [[nodiscard]] Token Usable(std::uint64_t stamp, Instant now) const {
    const Token token = token_.load(std::memory_order_acquire);
    return Matches(token, stamp, now) ? token : kNoToken;
  }
  // Until when the present token may be trusted; of a slot that matches before and after.
  [[nodiscard]] Instant deadline() const {
    return Instant(deadline_.load(std::memory_order_acquire));
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

// A tag and token of an entry, with the slot that says whether the token is still the present one.
struct SlotToken {
  SlotRef slot;
  TagToken tag_token;
};

class Slots {
 public:
  // The slot of `tag`, made if there is none. It is kept as long as the caller keeps the reference.
  [[nodiscard]] SlotRef Acquire(Tag tag);
  // Installs a fetched token, unless the slot was dropped since `version` was noted. False if it
  // was.
  bool Install(Tag tag, Slot& slot, std::uint64_t version, Token token, std::uint64_t stamp,
               Instant deadline);
  // The tag's token is gone: forget it, and every fetch of it under way. Once this has returned, no
  // slot matches the token and changes() has moved.
  void Drop(Tag tag);
  void DropAll();
  // How many slots there are; before, if they are more than `bound` and have grown by half since
  // the last time, frees those that nothing else refers to. Amortised over the slots made:
  // constant.
  std::size_t Sweep(std::size_t bound);
  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_relaxed); }
  // Moves whenever a slot loses what it had (dropped, another token, a nearer deadline), after the
  // slot was changed and before the call that changed it returns. So a reader that loads c, and
  // then finds an entry's slots matching until u, may take the entry for fresh while changes() == c
  // and now < u.
  [[nodiscard]] std::uint64_t changes() const { return changes_.load(std::memory_order_acquire); }
  // In a forked child: starts with no slots and usable mutexes. The parent's slots are left to
  // those who still refer to them, and the map, which another thread may have been changing, is
  // leaked.
  void AfterFork();

 private:
  struct Stripe {
    mutable Mutex mutex;
    std::unordered_map<Tag, SlotRef> slots GUARDED_BY(mutex);
  };
  static constexpr std::size_t kStripes = 64;
  using Stripes = std::array<Stripe, kStripes>;
  Stripe& StripeOf(Tag tag) { return (*stripes_)[(tag * 0x9E3779B97F4A7C15u) >> 58]; }
  static void Forget(Slot& slot);
  void Moved() { changes_.fetch_add(1, std::memory_order_acq_rel); }

  std::unique_ptr<Stripes> stripes_ = std::make_unique<Stripes>();
  std::atomic<std::size_t> size_{0};
  std::atomic<std::size_t> swept_size_{0};  // what the last sweep left
  alignas(64) std::atomic<std::uint64_t> changes_{1};
};

}  // namespace smartcache
