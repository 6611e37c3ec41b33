#include "smartcache/clock.h"

#include <ctime>

namespace smartcache {
namespace {

#if defined(CLOCK_BOOTTIME)
constexpr clockid_t kClock = CLOCK_BOOTTIME;
#else
constexpr clockid_t kClock = CLOCK_MONOTONIC;  // of macOS: runs on through sleep as well
#endif

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Instant Now() const override {
    timespec now{};
    clock_gettime(kClock, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  }
};

}  // namespace

const Clock& Clock::System() {
  static const SystemClock clock;
  return clock;
}

}  // namespace smartcache
