// A lock between processes that its holder cannot take to the grave, waited for with a limit: in
// front of each of LMDB's own write locks, which know no limit. Threads of one process exclude each
// other as well.
//
// Where there are robust mutexes it is one in shared memory; elsewhere flock, polled every
// millisecond.
#pragma once

#include <pthread.h>

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
#else
    std::uint64_t unused;
#endif
  };
  // Makes a gate in a file that no other process knows yet. False: the system cannot.
  static bool Init(Shared& shared);

  // `file`: open on the file that `shared` lies in; flock locks it.
  Gate(Shared& shared, int file) : shared_(shared), file_(file) {}

  // False: it was not free within `timeout`, of real time.
  [[nodiscard]] bool Lock(Duration timeout);
  void Unlock();

 private:
  [[maybe_unused]] Shared& shared_;
  [[maybe_unused]] const int file_;
#if !SMARTCACHE_ROBUST_GATES
  std::timed_mutex threads_;
#endif
};

}  // namespace smartcache::lmdb
