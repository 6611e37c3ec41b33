#include "l2/lmdb/gate.h"

#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <thread>

// The monotonic form came with glibc 2.30; a thread sanitizer that does not know it sees an unlock
// only.
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 30) && !defined(__SANITIZE_THREAD__)
#define SMARTCACHE_CLOCKLOCK 1
#else
#define SMARTCACHE_CLOCKLOCK 0
#endif

namespace smartcache::lmdb {

#if SMARTCACHE_ROBUST_GATES

namespace {

int TimedLock(pthread_mutex_t* mutex, Duration timeout) {
  timespec end{};
  clock_gettime(SMARTCACHE_CLOCKLOCK ? CLOCK_MONOTONIC : CLOCK_REALTIME, &end);
  const auto total =
      std::chrono::seconds(end.tv_sec) + std::chrono::nanoseconds(end.tv_nsec) + timeout;
  end.tv_sec = static_cast<time_t>(total / std::chrono::seconds(1));
  end.tv_nsec =
      static_cast<long>((total % std::chrono::seconds(1)).count());  // NOLINT(google-runtime-int)
#if SMARTCACHE_CLOCKLOCK
  return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &end);
#else
  return pthread_mutex_timedlock(mutex, &end);
#endif
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

bool Gate::Lock(Duration timeout) {
  int result = pthread_mutex_trylock(&shared_.mutex);
  if (result == EBUSY && timeout > Duration(0)) result = TimedLock(&shared_.mutex, timeout);
  // The holder died. What it guarded is kept whole by LMDB and mended by Control::Mend.
  if (result == EOWNERDEAD) result = pthread_mutex_consistent(&shared_.mutex);
  return result == 0;
}

void Gate::Unlock() { pthread_mutex_unlock(&shared_.mutex); }

#else

bool Gate::Init(Shared& shared) {
  shared.unused = 0;
  return true;
}

bool Gate::Lock(Duration timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  if (!threads_.try_lock_until(end)) return false;
  while (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() >= end || (errno != EWOULDBLOCK && errno != EINTR)) {
      threads_.unlock();
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

void Gate::Unlock() {
  flock(file_, LOCK_UN);
  threads_.unlock();
}

#endif

}  // namespace smartcache::lmdb
