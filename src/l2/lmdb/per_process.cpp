#include "l2/lmdb/per_process.h"

#include <pthread.h>

namespace smartcache::lmdb {

std::atomic<std::uint64_t> forks{0};

namespace {
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
}  // namespace

}  // namespace smartcache::lmdb
