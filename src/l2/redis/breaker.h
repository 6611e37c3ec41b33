// Circuit breaker: after a failure, calls are refused until a back-off is over; then one probe is
// let through, whose outcome closes the circuit or doubles the back-off. No I/O, no clock of its
// own. Thread-safe; a closed circuit costs one atomic load.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"

namespace smartcache::redis {

class Breaker {
 public:
  // First back-off: long enough to spare a struggling server, short enough that a restart goes
  // unnoticed.
  static constexpr Duration kFirstBackoff = std::chrono::milliseconds(50);
  static constexpr Duration kLastBackoff = std::chrono::seconds(1);
  // The back-off is varied by this share up and down, so that processes do not return in step.
  static constexpr double kJitter = 0.2;

  // A probe that never reports is given up after `probe_timeout`.
  explicit Breaker(Duration probe_timeout) : probe_timeout_(probe_timeout) {}

  enum class Permit : std::uint8_t { kRefused, kCall, kProbe };
  [[nodiscard]] Permit Ask(Instant now);
  // True when a call would be let through. Changes nothing.
  [[nodiscard]] bool WouldPermit(Instant now) const;
  void Succeeded();
  // `random`: any 64 random bits. Of several calls that fail together only the first counts.
  void Failed(Permit permit, Instant now, std::uint64_t random, std::string_view why = {});
  // What a refused caller is told: that `who` failed, and why.
  [[nodiscard]] Status Refusal(const std::string& who);

 private:
  void OpenFor(Duration backoff, Instant now, std::uint64_t random) REQUIRES(mutex_);

  const Duration probe_timeout_;
  std::atomic<std::int64_t> retry_at_{0};  // 0: closed
  Mutex mutex_;
  Duration backoff_ GUARDED_BY(mutex_){};
  std::string why_ GUARDED_BY(mutex_);
};

}  // namespace smartcache::redis
