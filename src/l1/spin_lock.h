// A lock for a few dozen instructions: an exchange to take it, a plain store to give it back (half
// of what std::mutex costs, which is a quarter of a hit). A waiter that finds it taken for long
// lets others run, since the holder may have been preempted.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "base/mutex.h"

namespace smartcache {

class CAPABILITY("mutex") SpinLock {
 public:
  void Lock() ACQUIRE() {
    if (taken_.exchange(true, std::memory_order_acquire)) Wait();
  }
  void Unlock() RELEASE() { taken_.store(false, std::memory_order_release); }

 private:
  static constexpr int kSpins = 100;   // some microseconds
  static constexpr int kYields = 100;  // then the holder is not runnable by yielding
  static constexpr std::chrono::microseconds kSleep{50};

  void Wait() {
    int rounds = 0;
    do {
      while (taken_.load(std::memory_order_relaxed)) {
        if (++rounds < kSpins) continue;
        if (rounds < kSpins + kYields) {
          std::this_thread::yield();
        } else {
          std::this_thread::sleep_for(kSleep);
        }
      }
    } while (taken_.exchange(true, std::memory_order_acquire));
  }

  std::atomic<bool> taken_{false};
};

class SCOPED_CAPABILITY SpinLockHolder {
 public:
  explicit SpinLockHolder(SpinLock& lock) ACQUIRE(lock) : lock_(lock) { lock_.Lock(); }
  ~SpinLockHolder() RELEASE() { lock_.Unlock(); }
  SpinLockHolder(const SpinLockHolder&) = delete;
  SpinLockHolder& operator=(const SpinLockHolder&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace smartcache
