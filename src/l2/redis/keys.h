// Names of the keys in the store: PREFIX:{bNN}:<kind>:<rest>. What stands in braces decides the
// Cluster slot, so all keys of one bucket are on one server.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "l2/redis/batch.h"
#include "smartcache/tag.h"

namespace smartcache::redis {

inline constexpr unsigned kBuckets = 256;

class Keys {
 public:
  // `prefix` must not contain braces.
  explicit Keys(std::string_view prefix);

  // Each appends one key as the next argument of `batch`.
  void Entry(Batch& batch, Tag key_tag, std::string_view key) const;       // e
  void Lock(Batch& batch, Tag key_tag, std::string_view key) const;        // l
  void UserLock(Batch& batch, Tag name_tag, std::string_view name) const;  // u
  void Token(Batch& batch, Tag tag) const;                                 // t
  void Marks(Batch& batch, Tag tag) const;                                 // m
  void SchemeSet(Batch& batch, Tag table) const;                           // s

  // A key of the bucket that never exists: deleting it shows whether the server takes writes.
  [[nodiscard]] std::string Probe(unsigned bucket) const;
  // Glob pattern of the kinds that Clear drops.
  [[nodiscard]] std::string ClearPattern() const;
  // "{bNN}"
  [[nodiscard]] static std::string HashTag(unsigned bucket);

 private:
  std::string prefix_;
  std::array<std::string, kBuckets> heads_;  // "PREFIX:{bNN}:"
};

// The channel of a bucket in a cluster: on the same server as its keys.
[[nodiscard]] inline std::string ShardedChannel(std::string_view channel, unsigned bucket) {
  return std::string(channel) + ":" + Keys::HashTag(bucket);
}

}  // namespace smartcache::redis
