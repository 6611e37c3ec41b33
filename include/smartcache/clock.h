// Time as the cache sees it: nanoseconds of this machine's boot clock, which runs on through
// suspend. Readings of two machines are never compared.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace smartcache {

using Duration = std::chrono::nanoseconds;
// Time since boot (CLOCK_BOOTTIME).
using Instant = std::chrono::nanoseconds;

inline constexpr Instant kNever = Instant::max();

// Adds without overflow: kNever stays kNever.
constexpr Instant After(Instant start, Duration span) {
  return span >= kNever - start ? kNever : start + span;
}

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Instant Now() const = 0;

  // The machine's clock. Lives for the whole process.
  static const Clock& System();
};

// A clock that tests move by hand. Thread-safe.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] Instant Now() const override { return Instant(now_.load()); }
  void Advance(Duration span) { now_.fetch_add(span.count()); }

 private:
  std::atomic<std::int64_t> now_{1'000'000'000};
};

}  // namespace smartcache
