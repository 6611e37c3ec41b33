// What happened, counted. Relaxed atomics: each number is right, a set of them is not one moment.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace smartcache {

// X(Name, "name in Python")
#define SMARTCACHE_COUNTERS(X)             \
  X(LocalHit, "local_hits")                \
  X(StoreHit, "store_hits")                \
  X(StaleHit, "stale_hits")                \
  X(Miss, "misses")                        \
  X(MissExpired, "misses_expired")         \
  X(MissInvalidated, "misses_invalidated") \
  X(MissIdentity, "misses_identity")       \
  X(MissCorrupt, "misses_corrupt")         \
  X(MissEpoch, "misses_epoch")             \
  X(Bypass, "bypasses")                    \
  X(Fill, "fills")                         \
  X(FillRejected, "fills_rejected")        \
  X(FillTooLarge, "fills_too_large")       \
  X(Mark, "marks")                         \
  X(Bump, "bumps")                         \
  X(BumpQueued, "bumps_queued")            \
  X(Message, "messages")                   \
  X(Fence, "fences")                       \
  X(FenceAsked, "fences_asked")            \
  X(Disconnect, "disconnects")             \
  X(FlightWait, "flight_waits")            \
  X(LockWait, "lock_waits")                \
  X(LockTimeout, "lock_timeouts")          \
  X(StoreError, "store_errors")            \
  X(LocalEvict, "local_evictions")

enum class Counter : std::uint8_t {
#define X(name, label) k##name,
  SMARTCACHE_COUNTERS(X)
#undef X
      kCount,
};

inline constexpr std::array<std::string_view, static_cast<std::size_t>(Counter::kCount)>
    kCounterNames = {
#define X(name, label) label,
        SMARTCACHE_COUNTERS(X)
#undef X
};

class Stats {
 public:
  void Add(Counter counter, std::uint64_t n = 1) {
    counts_[static_cast<std::size_t>(counter)].fetch_add(n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t Get(Counter counter) const {
    return counts_[static_cast<std::size_t>(counter)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Counter::kCount)> counts_{};
};

}  // namespace smartcache
