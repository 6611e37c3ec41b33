// Where threads wait for locks to be released; the listener wakes them. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>

#include "base/mutex.h"
#include "smartcache/clock.h"
#include "smartcache/tag.h"

namespace smartcache::redis {

class Board {
 public:
  // One waiting thread. Enrolled before it asks the server whether the lock is held, so that a
  // release in between is not missed.
  class Place {
   public:
    Place(Board& board, Tag tag);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    // True when the lock was released since the last call, or since enrolling. False after `limit`,
    // and when there is no listening any more.
    [[nodiscard]] bool Wait(Duration limit);

   private:
    Board& board_;
    const Tag tag_;
    std::uint64_t seen_ = 0;
  };

  void Wake(Tag tag);
  // Whether there is a listener that would hear of a release. Losing it wakes everybody, to look.
  void SetListening(bool listening);
  [[nodiscard]] bool listening() const { return listening_.load(std::memory_order_acquire); }

 private:
  struct Waiting {
    int threads = 0;
    std::uint64_t wakes = 0;
  };

  std::atomic<bool> listening_{false};
  Mutex mutex_;
  CondVar changed_;
  std::unordered_map<Tag, Waiting> waiting_ GUARDED_BY(mutex_);
};

}  // namespace smartcache::redis
