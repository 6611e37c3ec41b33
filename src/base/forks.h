// Which process this is, as far as forks tell: for what a forked child must not take for its own.
#pragma once

#include <cstdint>

namespace smartcache {

// How many forks lie between this process and the first one to load the library. Kept by
// pthread_atfork, so that it is right from a child's first instruction on. Cost: one load.
[[nodiscard]] std::uint64_t Forks();

}  // namespace smartcache
