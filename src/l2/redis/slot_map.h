// Which primary of a cluster serves which of our buckets. Pure functions of what the cluster says.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "l2/redis/batch.h"
#include "l2/redis/keys.h"
#include "l2/redis/redis_url.h"
#include "smartcache/result.h"

namespace smartcache::redis {

// The cluster's slot of all keys of a bucket: CRC16 of what stands in the braces, modulo 16,384.
[[nodiscard]] std::uint16_t SlotOf(unsigned bucket);

struct SlotMap {
  std::vector<Endpoint> primaries;  // in the order of the first bucket that each serves
  std::array<std::uint16_t, kBuckets> primary_of{};  // bucket -> position in primaries
};

// Out of a reply to CLUSTER SLOTS by `asked`, which stands in where a node does not know its
// address. kUnavailable when some bucket is not served.
[[nodiscard]] Result<SlotMap> ReadSlotMap(const valkeyReply& reply, const Endpoint& asked);

// The target of "MOVED slot host:port" or "ASK ...".
[[nodiscard]] Result<Endpoint> ReadRedirection(std::string_view error, const Endpoint& asked);

}  // namespace smartcache::redis
