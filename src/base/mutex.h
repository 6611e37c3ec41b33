// std::mutex and a lock for it that clang's thread-safety analysis understands.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define SMARTCACHE_ANNOTATE(x) __attribute__((x))
#else
#define SMARTCACHE_ANNOTATE(x)
#endif

#define CAPABILITY(x) SMARTCACHE_ANNOTATE(capability(x))
#define SCOPED_CAPABILITY SMARTCACHE_ANNOTATE(scoped_lockable)
#define GUARDED_BY(x) SMARTCACHE_ANNOTATE(guarded_by(x))
#define REQUIRES(...) SMARTCACHE_ANNOTATE(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) SMARTCACHE_ANNOTATE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) SMARTCACHE_ANNOTATE(release_capability(__VA_ARGS__))
#define EXCLUDES(...) SMARTCACHE_ANNOTATE(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS SMARTCACHE_ANNOTATE(no_thread_safety_analysis)

namespace smartcache {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  // BasicLockable, so that std::condition_variable_any can wait with it.
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

using CondVar = std::condition_variable_any;

}  // namespace smartcache
