#include "l2/redis/pool.h"

#include <utility>

namespace smartcache::redis {

std::unique_ptr<Connection> Pool::TakeIdle(Instant now, Retry retry) {
  for (;;) {
    std::unique_ptr<Connection> connection;
    {
      MutexLock lock(mutex_);
      if (idle_.empty()) return nullptr;
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
    const bool recent = now - connection->last_used < kTrustedIdleness;
    if (recent && retry == Retry::kIfClosed) return connection;
    if (connection->SeemsAlive()) return connection;
  }
}

void Pool::Put(std::unique_ptr<Connection> connection) {
  MutexLock lock(mutex_);
  if (connection->generation == generation() && idle_.size() < kMaxIdle) {
    idle_.push_back(std::move(connection));
  }
  // else the argument closes it, after the lock is given up
}

void Pool::Renew() {
  std::vector<std::unique_ptr<Connection>> dropped;
  MutexLock lock(mutex_);
  generation_.fetch_add(1, std::memory_order_acq_rel);
  dropped.swap(idle_);
}

std::size_t Pool::idle_count() {
  MutexLock lock(mutex_);
  return idle_.size();
}

}  // namespace smartcache::redis
