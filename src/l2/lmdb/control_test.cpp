#include "l2/lmdb/control.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "l2/lmdb/test_folder.h"

namespace smartcache::lmdb {
namespace {

constexpr Duration kLong = std::chrono::minutes(5);

class LmdbControlTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(Control::Create(path_, {1, {2, 3}, 4, 5}).ok()); }
  std::unique_ptr<Control> Open() {
    auto control = Control::Open(path_);
    EXPECT_TRUE(control.ok()) << control.status().message();
    return std::move(control).value();
  }

  TestFolder folder_;
  const std::string path_ = folder_.path + "/control";
};

TEST_F(LmdbControlTest, IsNotMadeTwice) {
  EXPECT_EQ(Control::Create(path_, {}).code(), Code::kUnavailable);
  EXPECT_EQ(Open()->layout().tokens_bytes, 4u);
}

TEST_F(LmdbControlTest, CounterIsNotTrustedAmidAChange) {
  const auto control = Open(), other = Open();
  const std::uint64_t before = other->Changes();
  EXPECT_NE(before, 0u);
  control->BeginChange();
  EXPECT_EQ(other->Changes(), 0u);
  control->EndChange();
  EXPECT_NE(other->Changes(), 0u);
  EXPECT_NE(other->Changes(), before);
}

TEST_F(LmdbControlTest, MendingEndsAChangeAndOnlyThat) {
  const auto control = Open();
  const std::uint64_t before = control->Changes();
  control->Mend();
  EXPECT_EQ(control->Changes(), before);
  control->BeginChange();
  control->Mend();
  EXPECT_NE(control->Changes(), 0u);
  EXPECT_NE(control->Changes(), before);
}

TEST_F(LmdbControlTest, RetirementIsForAllAndForEver) {
  const auto control = Open(), other = Open();
  control->Retire();
  EXPECT_TRUE(other->retired());
  EXPECT_FALSE(other->Usable());
  EXPECT_EQ(other->Changes(), 0u);
  other->BeginChange();
  other->EndChange();
  EXPECT_EQ(other->Changes(), 0u);
  EXPECT_TRUE(Open()->retired());
}

TEST_F(LmdbControlTest, CountersOfTwoFilesHaveNothingInCommon) {
  const std::uint64_t first = Open()->Changes();
  ASSERT_TRUE(Control::Create(path_ + "2", {}).ok());
  const auto second = Control::Open(path_ + "2");
  EXPECT_GT(std::max(first, second.value()->Changes()) - std::min(first, second.value()->Changes()),
            1'000'000u);
}

// Whether thread `id` of this process sleeps in a system call.
bool Sleeps(pid_t id) {
  std::ifstream file("/proc/self/task/" + std::to_string(id) + "/stat");
  std::string number, name, state;
  file >> number >> name >> state;
  return state == "S";
}

TEST_F(LmdbControlTest, AnnouncementWakesTheWaiters) {
  const auto control = Open(), other = Open();
  constexpr Tag kKey = 4711;
  const std::uint32_t seen = other->UnlockCount(kKey);
  std::atomic<pid_t> waiting{0};
  std::thread waiter([&] {
    waiting = static_cast<pid_t>(syscall(SYS_gettid));
    while (other->UnlockCount(kKey) == seen) other->AwaitUnlock(kKey, seen, kLong);
  });
  while (waiting == 0 || !Sleeps(waiting)) std::this_thread::yield();
  control->AnnounceUnlock(kKey);
  waiter.join();
  other->AwaitUnlock(kKey, seen, kLong);  // announced before: no wait
}

TEST_F(LmdbControlTest, GatesExcludeThreadsAndMappings) {
  const auto control = Open(), other = Open();
  ASSERT_EQ(control->tokens_gate().Lock(kLong), Gate::Entry::kEntered);
  EXPECT_EQ(other->entries_gate().Lock(Duration(0)), Gate::Entry::kEntered);
  other->entries_gate().Unlock();
  std::thread([&] {
    EXPECT_EQ(other->tokens_gate().Lock(Duration(0)), Gate::Entry::kStuck);
    EXPECT_EQ(other->tokens_gate().Lock(std::chrono::milliseconds(4)), Gate::Entry::kStuck);
  }).join();
  control->tokens_gate().Unlock();
  EXPECT_EQ(other->tokens_gate().Lock(Duration(0)), Gate::Entry::kEntered);
  other->tokens_gate().Unlock();
}

TEST_F(LmdbControlTest, FileCutShortOrReplacedIsNoticedAtAWrite) {
  const auto control = Open();
  EXPECT_TRUE(control->UsableNow());
  std::filesystem::rename(path_, path_ + ".old");
  std::filesystem::copy(path_ + ".old", path_);
  EXPECT_FALSE(control->UsableNow());
  EXPECT_TRUE(control->retired());
}

}  // namespace
}  // namespace smartcache::lmdb
