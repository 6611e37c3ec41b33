// Idle connections to one server: the one used last is taken first, so that few stay in use.
// Thread-safe; connects outside the lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "l2/redis/connection.h"
#include "l2/redis/servers.h"

namespace smartcache::redis {

class Pool {
 public:
  // An idle connection or null. Where commands cannot be sent again, it is one that looks alive;
  // else one used a moment ago is believed to be.
  [[nodiscard]] std::unique_ptr<Connection> TakeIdle(Instant now, Retry retry);
  // Keeps a connection for later use, unless the pool was renewed since its `generation` was read.
  void Put(std::unique_ptr<Connection> connection);
  // Closes what is idle; what is in use is closed when it comes back.
  void Renew();
  [[nodiscard]] std::uint64_t generation() const {
    return generation_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::size_t idle_count();

 private:
  static constexpr std::size_t kMaxIdle = 64;
  // Shorter idleness is not worth a system call to look whether the server has closed the
  // connection.
  static constexpr Duration kTrustedIdleness = std::chrono::milliseconds(5);

  std::atomic<std::uint64_t> generation_{0};
  Mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_ GUARDED_BY(mutex_);
};

}  // namespace smartcache::redis
