#include "l2/redis/breaker.h"

#include <algorithm>

namespace smartcache::redis {

Breaker::Permit Breaker::Ask(Instant now) {
  std::int64_t retry_at = retry_at_.load(std::memory_order_acquire);
  if (retry_at == 0) return Permit::kCall;
  if (now.count() < retry_at) return Permit::kRefused;
  // Whoever moves the time is the probe; the others see the new one.
  const std::int64_t probing = After(now, probe_timeout_).count();
  return retry_at_.compare_exchange_strong(retry_at, probing) ? Permit::kProbe : Permit::kRefused;
}

bool Breaker::WouldPermit(Instant now) const {
  const std::int64_t retry_at = retry_at_.load(std::memory_order_acquire);
  return retry_at == 0 || now.count() >= retry_at;
}

void Breaker::Succeeded() {
  if (retry_at_.load(std::memory_order_acquire) == 0) return;
  MutexLock lock(mutex_);
  backoff_ = {};
  retry_at_.store(0, std::memory_order_release);
}

void Breaker::Failed(Permit permit, Instant now, std::uint64_t random, std::string_view why) {
  MutexLock lock(mutex_);
  why_ = why;
  const bool closed = retry_at_.load(std::memory_order_acquire) == 0;
  if (closed) {
    OpenFor(kFirstBackoff, now, random);
  } else if (permit == Permit::kProbe) {
    OpenFor(std::min(backoff_ * 2, kLastBackoff), now, random);
  }
}

Status Breaker::Refusal(const std::string& who) {
  MutexLock lock(mutex_);
  return Unavailable(who + " failed a moment ago: " + why_);
}

void Breaker::OpenFor(Duration backoff, Instant now, std::uint64_t random) {
  backoff_ = backoff;
  const double share = static_cast<double>(random >> 11) / static_cast<double>(1ull << 53);
  const double factor = 1 + kJitter * (2 * share - 1);
  const Duration wait(static_cast<std::int64_t>(static_cast<double>(backoff.count()) * factor));
  retry_at_.store(std::max<std::int64_t>(1, After(now, wait).count()), std::memory_order_release);
}

}  // namespace smartcache::redis
