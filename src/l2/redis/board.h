// Where threads wait for locks to be released; the listener wakes them. Thread-safe.
#pragma once

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
    // Before asking the server: whether a release from here on would be heard.
    [[nodiscard]] bool Listening();
    // True when the lock was released since the last call, or since enrolling. False after `limit`,
    // and when listening was interrupted since Listening() was called.
    [[nodiscard]] bool Wait(Duration limit);

   private:
    Board& board_;
    const Tag tag_;
    std::uint64_t seen_ = 0, losses_ = 0;
  };

  void Wake(Tag tag);
  // Whether there is a listener that would hear of a release. Losing it wakes everybody, to look.
  void SetListening(bool listening);

 private:
  struct Waiting {
    int threads = 0;
    std::uint64_t wakes = 0;
  };

  Mutex mutex_;
  CondVar changed_;
  bool listening_ GUARDED_BY(mutex_) = false;
  std::uint64_t losses_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<Tag, Waiting> waiting_ GUARDED_BY(mutex_);
};

}  // namespace smartcache::redis
