#include "base/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <array>
#include <string>

#include "base/thread_test.h"

namespace smartcache {
namespace {

TEST(StartThread, LeavesSignalsToTheProgram) {
  sigset_t theirs, ours;
  sigemptyset(&theirs);
  StartThread("test", [&] { pthread_sigmask(SIG_SETMASK, nullptr, &theirs); }).join();
  EXPECT_EQ(sigismember(&theirs, SIGTERM), 1);
  EXPECT_EQ(sigismember(&theirs, SIGUSR1), 1);
  pthread_sigmask(SIG_SETMASK, nullptr, &ours);
  EXPECT_EQ(sigismember(&ours, SIGTERM), 0);
}

TEST(StartThread, GivesNoneWhereThereIsNone) {
  const NoThreads none;
  EXPECT_FALSE(StartThread("test", [] {}).joinable());
}

}  // namespace
}  // namespace smartcache
