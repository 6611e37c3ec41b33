// Opens a socket to a server, name resolution included, within a time limit.
#pragma once

#include "l2/redis/redis_url.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"

namespace smartcache::redis {

// A connected blocking socket, close-on-exec, without Nagle's algorithm; the caller closes it.
[[nodiscard]] Result<int> Dial(const Endpoint& endpoint, const Clock& clock, Instant deadline);

// Milliseconds to give poll() so that it does not return before `deadline`; 0 when that is over.
[[nodiscard]] int PollMillis(Instant now, Instant deadline);

}  // namespace smartcache::redis
