#include "l1/local_table.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/leave_behind.h"
#include "l1/shard.h"
#include "l1/spin_lock.h"

namespace smartcache {

namespace {

// A shard of few entries judges them badly and keeps no heavy ones; hits of Python come one at a
// time, so few shards are enough to keep fills and the listener out of their way.
constexpr std::size_t kLeastShardBytes = 16u << 20;
constexpr std::size_t kMostShards = 16;

}  // namespace

// On a cache line of its own, so that the locks of two shards do not meet on one.
struct alignas(64) LocalTable::LockedShard {
  explicit LockedShard(std::size_t max_bytes) : shard(max_bytes) {}

  SpinLock lock;
  Shard shard GUARDED_BY(lock);
};

LocalTable::Shards LocalTable::MakeShards(std::size_t max_bytes) {
  Shards shards;
  const std::size_t count =
      std::bit_floor(std::clamp<std::size_t>(max_bytes / kLeastShardBytes, 1, kMostShards));
  for (std::size_t i = 0; i < count; ++i) {
    shards.push_back(std::make_unique<LockedShard>(max_bytes / count));
  }
  return shards;
}

LocalTable::LocalTable(std::size_t max_bytes, Stats& stats)
    : max_bytes_(max_bytes), shards_(MakeShards(max_bytes)), stats_(stats) {}

LocalTable::~LocalTable() = default;

LocalTable::LockedShard& LocalTable::ShardOf(Tag hash) const {
  // Other bits of the product than those by which a shard finds the place.
  return *shards_[((hash * 0xD6E8FEB86659FD93u) >> 60) & (shards_.size() - 1)];
}

LocalRef LocalTable::Find(Tag hash, std::string_view key) {
  LockedShard& locked = ShardOf(hash);
  const SpinLockHolder holder(locked.lock);
  const LocalRef* found = locked.shard.Find(hash, key);
  return found == nullptr ? nullptr : *found;
}

void LocalTable::Insert(LocalRef entry) {
  Shard::Victims victims;
  LockedShard& locked = ShardOf(entry->hash);
  std::size_t evicted = 0;
  {
    const SpinLockHolder holder(locked.lock);
    evicted = locked.shard.Insert(std::move(entry), victims);
  }
  if (evicted != 0) stats_.Add(Counter::kLocalEvict, evicted);
}

void LocalTable::Erase(const LocalEntry& entry) {
  Shard::Victims victims;
  LockedShard& locked = ShardOf(entry.hash);
  const SpinLockHolder holder(locked.lock);
  locked.shard.Erase(entry, victims);
}

void LocalTable::Erase(Tag hash) {
  Shard::Victims victims;
  LockedShard& locked = ShardOf(hash);
  const SpinLockHolder holder(locked.lock);
  locked.shard.Erase(hash, victims);
}

void LocalTable::Clear() {
  for (const auto& locked : shards_) {
    Shard::Victims victims;
    const SpinLockHolder holder(locked->lock);
    locked->shard.Clear(victims);
  }
}

std::size_t LocalTable::entries() const {
  std::size_t sum = 0;
  for (const auto& locked : shards_) {
    const SpinLockHolder holder(locked->lock);
    sum += locked->shard.entries();
  }
  return sum;
}

std::size_t LocalTable::bytes() const {
  std::size_t sum = 0;
  for (const auto& locked : shards_) {
    const SpinLockHolder holder(locked->lock);
    sum += locked->shard.bytes();
  }
  return sum;
}

void LocalTable::AfterFork() { LeaveBehind(std::exchange(shards_, MakeShards(max_bytes_))); }

}  // namespace smartcache
