// What a cache is made of. The package fills it from the settings; see docs/settings.md.
#pragma once

#include <cstddef>
#include <string>

#include "smartcache/clock.h"
#include "smartcache/entry.h"

namespace smartcache {

struct Options {
  std::string prefix = "smartcache";  // of every key in the store
  Secret secret{};

  std::size_t local_max_bytes = 64u << 20;   // of L1; 0: no L1
  std::size_t max_payload_bytes = 8u << 20;  // larger values are computed and not stored

  bool use_lock = true;  // one process computes, the others wait
  Duration lock_timeout = std::chrono::seconds(5);
  // For how long a writer's marks stand that dies between COMMIT and bump: what it changed is stale
  // for no longer.
  Duration mark_lease = std::chrono::seconds(10);
  Duration trust_bound = std::chrono::seconds(2);  // B: how long an L1 trusts itself after a fence
  Duration token_ttl = std::chrono::hours(24 * 7);
  // Between attempts to tell a store that is down what was invalidated meanwhile.
  Duration replay_pause = std::chrono::milliseconds(250);

  // Redis.
  std::string channel = "smartcache:updates";
  Duration redis_timeout = std::chrono::milliseconds(250);
  bool start_listener = true;  // false: L1 asks the store at each hit

  // Embedded.
  std::string directory;
  std::size_t embedded_max_bytes = 1024u << 20;
};

}  // namespace smartcache
