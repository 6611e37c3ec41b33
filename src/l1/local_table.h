// L1: entries of this process in a bounded number of bytes, evicted by S3-FIFO. Sharded; each shard
// under its own lock, held for a few dozen instructions; entries are destroyed outside of it.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "l1/local_entry.h"
#include "smartcache/stats.h"

namespace smartcache {

class LocalTable {
 public:
  // `max_bytes` 0: keeps nothing.
  LocalTable(std::size_t max_bytes, Stats& stats);
  ~LocalTable();
  // The entry of the key, counted as a use; null if there is none. Says nothing of freshness.
  [[nodiscard]] LocalRef Find(Tag hash, std::string_view key);
  // Inserts or replaces; evicts for room. An entry heavier than a shard's share is not kept.
  void Insert(LocalRef entry);
  // Removes `entry` if it is still the one kept under its key.
  void Erase(const LocalEntry& entry);
  // Removes whatever has this hash.
  void Erase(Tag hash);
  void Clear();
  [[nodiscard]] std::size_t entries() const;
  [[nodiscard]] std::size_t bytes() const;
  // In a forked child: starts empty. What the parent kept is leaked, since one of its threads may
  // have been changing it, and its locks may be held for ever.
  void AfterFork();

 private:
  struct LockedShard;
  using Shards = std::vector<std::unique_ptr<LockedShard>>;

  static Shards MakeShards(std::size_t max_bytes);
  [[nodiscard]] LockedShard& ShardOf(Tag hash) const;

  const std::size_t max_bytes_;
  Shards shards_;
  Stats& stats_;
};

}  // namespace smartcache
