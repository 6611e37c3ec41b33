// Real time for back-offs and for looking at files now and then: cheap, and never moved by a test.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace smartcache::lmdb {

// Milliseconds since boot, good to about ten. Cost: a quarter of an exact clock.
[[nodiscard]] inline std::int64_t CoarseMilliseconds() {
#if defined(CLOCK_MONOTONIC_COARSE)
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * std::int64_t{1000} + now.tv_nsec / 1'000'000;
#else
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::milliseconds(1);
#endif
}

}  // namespace smartcache::lmdb
