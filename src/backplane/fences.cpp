#include "backplane/fences.h"

#include <algorithm>
#include <chrono>

namespace smartcache {
namespace {

constexpr Duration kLongestWait = std::chrono::hours(1);  // time points far away overflow

}  // namespace

Fences::Number Fences::Ask() {
  MutexLock lock(mutex_);
  if (!connected_) return 0;
  wanted_ = sent_ + 1;
  return wanted_;
}

bool Fences::Await(Number number, Duration limit) {
  const auto until = std::chrono::steady_clock::now() + std::min(limit, kLongestWait);
  MutexLock lock(mutex_);
  // A loss answers nothing, and the numbers that were under way are never answered.
  const std::uint64_t losses = losses_;
  while (answered_ < number && losses_ == losses && connected_) {
    if (changed_.wait_until(mutex_, until) == std::cv_status::timeout) break;
  }
  return answered_ >= number;
}

bool Fences::Wanted() {
  MutexLock lock(mutex_);
  return wanted_ > sent_;
}

Fences::Number Fences::Send() {
  MutexLock lock(mutex_);
  return ++sent_;
}

void Fences::Answered(Number number) {
  MutexLock lock(mutex_);
  answered_ = std::max(answered_, number);
  changed_.notify_all();
}

void Fences::SetConnected(bool connected) {
  MutexLock lock(mutex_);
  connected_ = connected;
  if (!connected) ++losses_;
  changed_.notify_all();
}

}  // namespace smartcache
