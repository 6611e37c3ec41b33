#include "tags/slots.h"

#include <algorithm>
#include <utility>

#include "base/leave_behind.h"

namespace smartcache {

SlotRef Slots::Acquire(Tag tag) {
  Stripe& stripe = StripeOf(tag);
  const MutexLock lock(stripe.mutex);
  SlotRef& slot = stripe.slots[tag];
  if (slot == nullptr) {
    slot = std::make_shared<Slot>();
    size_.fetch_add(1, std::memory_order_relaxed);
  }
  return slot;
}

bool Slots::Install(Tag tag, Slot& slot, std::uint64_t version, Token token, std::uint64_t stamp,
                    Instant deadline) {
  Stripe& stripe = StripeOf(tag);
  const MutexLock lock(stripe.mutex);
  // A slot from before a fork is no longer in the map: no message would ever reach it.
  const auto found = stripe.slots.find(tag);
  if (found == stripe.slots.end() || found->second.get() != &slot) return false;
  if (slot.version_.load(std::memory_order_relaxed) != version) return false;
  const Token old_token = slot.token_.load(std::memory_order_relaxed);
  const bool lost = old_token != kNoToken && (old_token != token || deadline < slot.deadline());
  slot.token_.store(kNoToken, std::memory_order_release);
  slot.deadline_.store(deadline.count(), std::memory_order_release);
  slot.stamp_.store(stamp, std::memory_order_release);
  slot.token_.store(token, std::memory_order_release);
  if (lost) Moved();
  return true;
}

void Slots::Forget(Slot& slot) {
  slot.token_.store(kNoToken, std::memory_order_release);
  slot.version_.fetch_add(1, std::memory_order_acq_rel);
}

void Slots::Drop(Tag tag) {
  Stripe& stripe = StripeOf(tag);
  const MutexLock lock(stripe.mutex);
  const auto found = stripe.slots.find(tag);
  if (found == stripe.slots.end()) return;
  Forget(*found->second);
  Moved();
}

void Slots::DropAll() {
  for (Stripe& stripe : *stripes_) {
    const MutexLock lock(stripe.mutex);
    for (auto& [tag, slot] : stripe.slots) Forget(*slot);
  }
  Moved();
}

std::size_t Slots::Sweep(std::size_t bound) {
  const std::size_t left = swept_size_.load(std::memory_order_relaxed);
  if (size() <= std::max(bound, left + left / 2)) return size();
  for (Stripe& stripe : *stripes_) {
    const MutexLock lock(stripe.mutex);
    // The map's reference is the only one, and another could be made from it only under this mutex.
    const std::size_t freed =
        std::erase_if(stripe.slots, [](const auto& slot) { return slot.second.use_count() == 1; });
    size_.fetch_sub(freed, std::memory_order_relaxed);
  }
  swept_size_.store(size(), std::memory_order_relaxed);
  return size();
}

void Slots::AfterFork() {
  LeaveBehind(std::exchange(stripes_, std::make_unique<Stripes>()));
  size_.store(0, std::memory_order_relaxed);
  swept_size_.store(0, std::memory_order_relaxed);
  Moved();
}

}  // namespace smartcache
