// Invalidations that the store has not acknowledged. While there are any, nothing is served: what
// they should have dropped may still be readable. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "smartcache/tag.h"

namespace smartcache {

class Pending {
 public:
  // Beyond this many, single ones are no longer kept: everything is cleared instead.
  static constexpr std::size_t kMaxKept = 100'000;

  // Tags, or keys, in one batch: a few milliseconds for a server, so that the time for a call
  // suffices however much is pending.
  static constexpr std::size_t kMaxBatch = 2'000;

  struct Batch {
    std::vector<Tag> tags;
    std::vector<std::string> keys;
    bool everything = false;
  };

  void AddTags(std::span<const Tag> tags);
  void AddKeys(std::span<const std::string> keys);
  void AddEverything();
  // Some of what is to be replayed, as much as fits into a call of the store; it stays pending
  // until Done.
  [[nodiscard]] Batch Peek();
  // `batch` has been acknowledged. What was added since stays.
  void Done(const Batch& batch);
  [[nodiscard]] bool empty() const { return empty_.load(std::memory_order_acquire); }
  // In a forked child: the parent replays its own.
  void AfterFork();

 private:
  void Settle() REQUIRES(mutex_);

  Mutex mutex_;
  // Counted, so that what is added again while a replay is under way survives that replay.
  std::unordered_multiset<Tag> tags_ GUARDED_BY(mutex_);
  std::unordered_multiset<std::string> keys_ GUARDED_BY(mutex_);
  std::size_t everything_ GUARDED_BY(mutex_) = 0;
  std::atomic<bool> empty_{true};
};

}  // namespace smartcache
