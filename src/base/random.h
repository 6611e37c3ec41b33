// Random 64-bit numbers: tokens, owners, origins.
#pragma once

#include <cstdint>

namespace smartcache {

// Unpredictable, never 0, different in every process and after every fork. Cost: tens of
// nanoseconds (a buffer filled by the kernel, dropped in a forked child).
[[nodiscard]] std::uint64_t RandomU64();

}  // namespace smartcache
