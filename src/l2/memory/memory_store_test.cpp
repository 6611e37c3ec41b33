#include "l2/memory/memory_store.h"

#include <gtest/gtest.h>

#include "l2/store_conformance.h"

namespace smartcache {
namespace {

template <MemoryStore::Kind kind>
struct MemoryHarness {
  static constexpr bool kEmbedded = kind == MemoryStore::Kind::kEmbedded;
  std::unique_ptr<Store> Open(const Options& options) {
    return std::make_unique<MemoryStore>(options, clock, data, kind);
  }
  bool Eventually(Duration span, const std::function<bool()>& condition) {
    clock.Advance(span);
    return condition();
  }

  ManualClock clock;
  std::shared_ptr<MemoryData> data = std::make_shared<MemoryData>();
};

using Kinds = testing::Types<MemoryHarness<MemoryStore::Kind::kEmbedded>,
                             MemoryHarness<MemoryStore::Kind::kServer>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Memory, StoreConformance, Kinds);

TEST(MemoryStore, FailsWhileItIsDown) {
  const ManualClock clock;
  MemoryStore store(Options(), clock);
  store.SetAvailable(false);
  EXPECT_FALSE(store.Available());
  EXPECT_EQ(store.Get("k", {}).status().code(), Code::kUnavailable);
  EXPECT_EQ(store.AwaitUnlock("k", kNever).status().code(), Code::kUnavailable);
  EXPECT_EQ(store.Clear().code(), Code::kUnavailable);
  EXPECT_EQ(store.ChangeCounter(), 0u);
  store.SetAvailable(true);
  EXPECT_TRUE(store.Available());
  EXPECT_TRUE(store.Get("k", {}).ok());
}

TEST(MemoryStore, DoesItsWorkWhenOnlyTheAnswerIsLost) {
  const ManualClock clock;
  MemoryStore store(Options(), clock);
  const Token token = store.Mint(std::vector<Tag>{7}, {})->tokens.at(0).token;
  store.SetFault(MemoryStore::Fault::kAnswerLost);
  EXPECT_EQ(store.Bump(std::vector<Tag>{7}, {}).status().code(), Code::kUnavailable);
  store.SetFault(MemoryStore::Fault::kNone);
  EXPECT_NE(store.Mint(std::vector<Tag>{7}, {})->tokens.at(0).token, token);
}

TEST(MemoryStore, WipingChangesEpochAndCounter) {
  const ManualClock clock;
  MemoryStore store(Options(), clock);
  ASSERT_TRUE(store.Put("k", "v", kNever, PutCondition::kAlways).ok());
  const auto before = store.Get("k", {});
  store.data()->Wipe();
  const auto after = store.Get("k", {});
  EXPECT_FALSE(after->entry.has_value());
  EXPECT_NE(after->epoch, before->epoch);
  EXPECT_NE(after->stamp, before->stamp);
}

TEST(MemoryStore, AnnouncesChangesToAllWithTheirOrigin) {
  const ManualClock clock;
  MemoryStore store(Options(), clock);
  std::vector<Announcement> heard;
  store.data()->Listen([&](const Announcement& announcement) { heard.push_back(announcement); });
  ASSERT_TRUE(store.Bump(std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(store.Put("k", "v", kNever, PutCondition::kAlways).ok());
  ASSERT_TRUE(store.Clear().ok());
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard[0].tags, std::vector<Tag>{7});
  EXPECT_EQ(heard[0].origin, &store);
  EXPECT_EQ(heard[1].tags, std::vector<Tag>{KeyTag("k")});
  EXPECT_TRUE(heard[2].clear);
}

}  // namespace
}  // namespace smartcache
