#include "cache/keeper.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "base/thread_test.h"
#include "l2/memory/memory_store.h"

namespace smartcache {
namespace {

constexpr Duration kShort = std::chrono::milliseconds(3);  // the pauses between renewals are real

class KeeperTest : public testing::Test {
 protected:
  KeeperTest() {
    store.SetHook([this](std::string_view method) { renewals += method == "RenewLock" ? 1 : 0; });
  }
  void AwaitRenewals(int count) {
    while (renewals < count) std::this_thread::yield();
  }

  ManualClock clock;
  std::atomic<int> renewals{0};
  MemoryStore store{Options(), clock};
};

TEST_F(KeeperTest, RenewsUntilRemoved) {
  ASSERT_TRUE(store.Begin("k", 1, std::chrono::seconds(5)).ok());
  Keeper keeper(store, kShort, kShort);
  Keeper::Handle handle = keeper.Add("k", 1);
  AwaitRenewals(2);
  keeper.Remove(handle);
  keeper.Remove(handle);  // does nothing
  keeper.Stop();
}

TEST_F(KeeperTest, LockLeftWhileTheStoreWasDownIsReleasedAfterwards) {
  constexpr Duration kLease = std::chrono::seconds(5);
  ASSERT_TRUE(store.Begin("k", 1, kLease).ok());
  store.SetAvailable(false);
  Keeper keeper(store, kLease, kLease);
  keeper.Release("k", 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(120));  // of attempts in vain
  store.SetAvailable(true);
  const auto freed = store.AwaitUnlock("k", kLease);
  ASSERT_TRUE(freed.ok());
  EXPECT_TRUE(*freed);
}

TEST_F(KeeperTest, LockAddedWhereThereWasNoThreadIsRenewedByALaterOne) {
  Keeper keeper(store, kShort, kShort);
  std::optional<NoThreads> none(std::in_place);
  Keeper::Handle first = keeper.Add("first", 1);
  none.reset();
  Keeper::Handle second = keeper.Add("second", 2);
  AwaitRenewals(4);  // both, twice
  keeper.Remove(first);
  keeper.Remove(second);
}

}  // namespace
}  // namespace smartcache
