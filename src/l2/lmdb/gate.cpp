#include "l2/lmdb/gate.h"

#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <thread>
#include <utility>

#include "l2/lmdb/coarse_clock.h"

// The monotonic form came with glibc 2.30; a thread sanitizer that does not know it sees an unlock
// only.
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 30) && !defined(__SANITIZE_THREAD__)
#define SMARTCACHE_CLOCKLOCK 1
#else
#define SMARTCACHE_CLOCKLOCK 0
#endif

namespace smartcache::lmdb {

namespace {

// Into how many waits a timeout is cut; who has waited for one asks newcomers to yield.
constexpr int kSlices = 4;
// Timeouts waited in a crowd before giving up.
constexpr int kTimeouts = 4;
constexpr std::int64_t kYieldMilliseconds = 20;
// What a newcomer yields: long enough for a woken thread to enter, a few writes' time.
constexpr auto kYield = std::chrono::microseconds(100);

}  // namespace

Gate::Entry Gate::Lock(Duration timeout) {
  if (shared_.yield_until.load(std::memory_order_relaxed) > CoarseMilliseconds()) {
    std::this_thread::sleep_for(kYield);
  }
  int result = TryLock();
  std::uint64_t turns = shared_.turns.load(std::memory_order_relaxed);
  for (int slice = 1; result == EBUSY && timeout > Duration(0); ++slice) {
    result = TimedLock(timeout / kSlices);
    if (result != EBUSY) break;
    if (slice % kSlices == 0) {
      const std::uint64_t before =
          std::exchange(turns, shared_.turns.load(std::memory_order_relaxed));
      if (turns == before) return Entry::kStuck;
      if (slice == kSlices * kTimeouts) return Entry::kCrowded;
    }
    shared_.yield_until.store(CoarseMilliseconds() + kYieldMilliseconds, std::memory_order_relaxed);
  }
  if (result != 0) return Entry::kStuck;
  shared_.turns.fetch_add(1, std::memory_order_relaxed);
  return Entry::kEntered;
}

#if SMARTCACHE_ROBUST_GATES

namespace {

// The code of a lock, after a holder that died: what it guarded is kept whole by LMDB and
// Control::Mend.
int Settle(pthread_mutex_t* mutex, int result) {
  if (result == ETIMEDOUT) return EBUSY;
  return result == EOWNERDEAD ? pthread_mutex_consistent(mutex) : result;
}

}  // namespace

bool Gate::Init(Shared& shared) {
  pthread_mutexattr_t attributes;
  if (pthread_mutexattr_init(&attributes) != 0) return false;
  const bool made = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0 &&
                    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
                    pthread_mutex_init(&shared.mutex, &attributes) == 0;
  pthread_mutexattr_destroy(&attributes);
  return made;
}

int Gate::TryLock() { return Settle(&shared_.mutex, pthread_mutex_trylock(&shared_.mutex)); }

int Gate::TimedLock(Duration timeout) {
  timespec end{};
  clock_gettime(SMARTCACHE_CLOCKLOCK ? CLOCK_MONOTONIC : CLOCK_REALTIME, &end);
  const auto total =
      std::chrono::seconds(end.tv_sec) + std::chrono::nanoseconds(end.tv_nsec) + timeout;
  end.tv_sec = static_cast<time_t>(total / std::chrono::seconds(1));
  end.tv_nsec =
      static_cast<long>((total % std::chrono::seconds(1)).count());  // NOLINT(google-runtime-int)
#if SMARTCACHE_CLOCKLOCK
  return Settle(&shared_.mutex, pthread_mutex_clocklock(&shared_.mutex, CLOCK_MONOTONIC, &end));
#else
  return Settle(&shared_.mutex, pthread_mutex_timedlock(&shared_.mutex, &end));
#endif
}

void Gate::Unlock() { pthread_mutex_unlock(&shared_.mutex); }

#else

bool Gate::Init(Shared& /*shared*/) { return true; }

int Gate::TryLock() { return TimedLock(Duration(0)); }

int Gate::TimedLock(Duration timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  if (!threads_.try_lock_until(end)) return EBUSY;
  while (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno == EWOULDBLOCK || errno == EINTR ? EBUSY : errno;
    if (code != EBUSY || std::chrono::steady_clock::now() >= end) {
      threads_.unlock();
      return code;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return 0;
}

void Gate::Unlock() {
  flock(file_, LOCK_UN);
  threads_.unlock();
}

#endif

}  // namespace smartcache::lmdb
