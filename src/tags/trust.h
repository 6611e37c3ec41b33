// How far L1 may trust its slots: the stamp they must bear, and until when.
//
// With a listener the stamp is a generation, changed at every connect and disconnect, and trust
// lasts for a bound after the last answered fence was SENT. Without one there is no trust; embedded
// stores lend their change counter as the stamp (see Store::ChangeCounter).
#pragma once

#include <atomic>
#include <cstdint>

#include "smartcache/clock.h"

namespace smartcache {

struct TrustNow {
  std::uint64_t stamp = 0;
  Instant until{};  // zero: no trust at all
};

class Trust {
 public:
  explicit Trust(Duration bound) : bound_(bound) {}

  // What may be trusted. Read the generation after `until`, so that an end between the two is seen
  // as the newer stamp with the older deadline, never the other way round.
  [[nodiscard]] TrustNow Now() const {
    const Instant until(until_.load(std::memory_order_acquire));
    return {generation_.load(std::memory_order_acquire), until};
  }
  // A new connection, or the loss of one: nothing fetched before counts.
  void End() {
    until_.store(0, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_acq_rel);
  }
  // A fence sent at `sent` under the present connection was answered. Listener thread only.
  void Extend(Instant sent) {
    until_.store(After(sent, bound_).count(), std::memory_order_release);
  }

 private:
  const Duration bound_;
  std::atomic<std::uint64_t> generation_{1};
  std::atomic<std::int64_t> until_{0};
};

}  // namespace smartcache
