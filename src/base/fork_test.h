// For tests that fork while other threads allocate: g++ 12's sanitizers do not hold their
// allocator's locks over a fork, so that a child may find one locked by a thread it does not have,
// and hang.
#pragma once

#include <gtest/gtest.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SMARTCACHE_SKIP_FORK_AMID_THREADS() \
  GTEST_SKIP() << "the sanitizer's own allocator is not usable after a fork from threads"
#else
#define SMARTCACHE_SKIP_FORK_AMID_THREADS() static_cast<void>(0)
#endif
