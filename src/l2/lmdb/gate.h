// A lock between processes that its holder cannot take to the grave, waited for with a limit: in
// front of each of LMDB's own write locks, which know no limit. Threads of one process exclude each
// other as well.
//
// Where there are robust mutexes it is one in shared memory; elsewhere flock, polled every
// millisecond.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include "smartcache/clock.h"

#if defined(__linux__) && !defined(SMARTCACHE_PORTABLE_GATES)
#define SMARTCACHE_ROBUST_GATES 1
#else
#define SMARTCACHE_ROBUST_GATES 0
#endif

namespace smartcache::lmdb {

class Gate {
 public:
  // What of it lies in shared memory.
  struct Shared {
#if SMARTCACHE_ROBUST_GATES
    pthread_mutex_t mutex;
#endif
    // How often it was entered: who sees it move waits for a crowd, not for a holder that is stuck.
    std::atomic<std::uint64_t> turns;
    // Until then (CoarseMilliseconds) newcomers let somebody go first who has waited for long. A
    // time, so that it ends by itself should that one die.
    std::atomic<std::int64_t> yield_until;
  };
  // Makes a gate in a file that no other process knows yet. False: the system cannot.
  static bool Init(Shared& shared);

  // `file`: open on the file that `shared` lies in; flock locks it.
  Gate(Shared& shared, int file) : shared_(shared), file_(file) {}

  enum class Entry : std::uint8_t {
    kEntered,
    kStuck,    // nobody has entered or left for `timeout`: the holder is stopped
    kCrowded,  // not our turn in several times `timeout`
  };
  // `timeout` is of real time; 0 tries once.
  [[nodiscard]] Entry Lock(Duration timeout);
  void Unlock();

 private:
  // 0: entered; EBUSY; else the system's code.
  [[nodiscard]] int TryLock();
  [[nodiscard]] int TimedLock(Duration timeout);

  Shared& shared_;
  [[maybe_unused]] const int file_;
#if !SMARTCACHE_ROBUST_GATES
  std::timed_mutex threads_;
#endif
};

}  // namespace smartcache::lmdb
