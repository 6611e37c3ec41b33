#include "base/forks.h"

#include <pthread.h>

#include <atomic>

namespace smartcache {
namespace {

std::atomic<std::uint64_t> forks{0};
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

std::uint64_t Forks() { return forks.load(std::memory_order_relaxed); }

}  // namespace smartcache
