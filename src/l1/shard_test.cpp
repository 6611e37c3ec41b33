// What the table keeps, and how well the policy chooses it. Ratios beside those of a plain LRU of
// the same size over the same requests.
#include "l1/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace smartcache {
namespace {

using Requests = std::vector<std::uint32_t>;
constexpr std::size_t kWeight = 300;

Tag HashOf(std::uint32_t number) { return (number + 1) * 0xD1B54A32D192ED03u; }

LocalRef MakeEntry(std::uint32_t number, std::size_t weight = kWeight) {
  auto entry = std::make_shared<LocalEntry>();
  entry->hash = HashOf(number);
  entry->key = std::to_string(number);
  entry->weight = weight;
  return entry;
}

class ShardOf {
 public:
  explicit ShardOf(std::size_t max_bytes) : shard_(max_bytes) {}
  LocalRef Find(std::uint32_t number) {
    const LocalRef* found = shard_.Find(HashOf(number), std::to_string(number));
    return found == nullptr ? nullptr : *found;
  }
  std::size_t Insert(const LocalRef& entry) {
    Shard::Victims victims;
    return shard_.Insert(entry, victims);
  }
  Shard& shard() { return shard_; }

 private:
  Shard shard_;
};

TEST(Shard, KeysOfOneHashAreKeptApart) {
  ShardOf held(1 << 20);
  Shard::Victims victims;
  std::vector<LocalRef> entries;
  for (const char* key : {"a", "b", "c"}) {
    auto entry = std::make_shared<LocalEntry>();
    entry->hash = 42;
    entry->key = key;
    entry->weight = kWeight;
    entries.push_back(entry);
    held.shard().Insert(entry, victims);
  }
  for (const LocalRef& entry : entries) EXPECT_EQ(*held.shard().Find(42, entry->key.view()), entry);
  EXPECT_EQ(held.shard().Find(42, "d"), nullptr);
  EXPECT_EQ(held.shard().Find(43, "a"), nullptr);
  held.shard().Erase(42, victims);
  EXPECT_EQ(victims.size(), 3u);
  EXPECT_EQ(held.shard().entries(), 0u);
}

TEST(Shard, ErasesAnEntryOnlyWhileItIsTheOneKept) {
  ShardOf held(1 << 20);
  const LocalRef old_entry = MakeEntry(1);
  const LocalRef new_entry = MakeEntry(1);
  held.Insert(old_entry);
  held.Insert(new_entry);
  EXPECT_EQ(held.shard().bytes(), kWeight);
  Shard::Victims victims;
  held.shard().Erase(*old_entry, victims);
  EXPECT_EQ(held.Find(1), new_entry);
  held.shard().Erase(*new_entry, victims);
  EXPECT_EQ(held.Find(1), nullptr);
}

// The table against a map of what it may hold, through growth, displacement and eviction.
TEST(Shard, FindsWhatItCountsThroughAnyChange) {
  constexpr std::size_t kMaxBytes = 60'000;
  std::mt19937 random(5);
  ShardOf held(kMaxBytes);
  std::map<std::uint32_t, LocalRef> last;
  for (int step = 0; step < 60'000; ++step) {
    const std::uint32_t number = random() % 500;
    Shard::Victims victims;
    switch (random() % 4) {
      case 0:
        held.shard().Erase(HashOf(number), victims);
        EXPECT_EQ(held.Find(number), nullptr);
        break;
      case 1:
        if (last.contains(number)) held.shard().Erase(*last[number], victims);
        EXPECT_EQ(held.Find(number), nullptr);
        break;
      default:
        last[number] = MakeEntry(number, 1 + random() % 700);
        held.shard().Insert(last[number], victims);
    }
    ASSERT_LE(held.shard().bytes(), kMaxBytes);
    for (const LocalRef& victim : victims) {
      const LocalRef found =
          held.Find(static_cast<std::uint32_t>(std::stoul(std::string(victim->key.view()))));
      ASSERT_NE(found, victim);
    }
    if (step % 1'000 != 0) continue;
    std::size_t entries = 0;
    std::size_t bytes = 0;
    for (const auto& [other, entry] : last) {
      const LocalRef found = held.Find(other);
      if (found == nullptr) continue;
      ASSERT_EQ(found, entry);
      ++entries;
      bytes += found->weight;
    }
    ASSERT_EQ(entries, held.shard().entries());
    ASSERT_EQ(bytes, held.shard().bytes());
  }
  Shard::Victims victims;
  held.shard().Clear(victims);
  EXPECT_EQ(held.shard().bytes(), 0u);
  for (const auto& [number, entry] : last) EXPECT_EQ(held.Find(number), nullptr);
}

TEST(Shard, KeepsNoEntryHeavierThanItself) {
  ShardOf held(10 * kWeight);
  held.Insert(MakeEntry(1));
  held.Insert(MakeEntry(2, 10 * kWeight + 1));
  EXPECT_EQ(held.Find(2), nullptr);
  EXPECT_NE(held.Find(1), nullptr);
  // The value it was to replace is not kept either: it is outdated.
  held.Insert(MakeEntry(1, 10 * kWeight + 1));
  EXPECT_EQ(held.Find(1), nullptr);
}

TEST(Shard, LetsAHeavyEntryDriveOutOthersOnlyWhenItComesAgain) {
  constexpr std::uint32_t kHeavy = 1'000;
  ShardOf held(100 * kWeight);
  for (std::uint32_t i = 0; i < 100; ++i) held.Insert(MakeEntry(i));
  EXPECT_EQ(held.Insert(MakeEntry(kHeavy, 50 * kWeight)), 0u);
  EXPECT_EQ(held.Find(kHeavy), nullptr);
  EXPECT_EQ(held.shard().entries(), 100u);
  EXPECT_GE(held.Insert(MakeEntry(kHeavy, 50 * kWeight)), 50u);
  EXPECT_NE(held.Find(kHeavy), nullptr);
}

TEST(Shard, KeepsAHeavyEntryAtOnceWhereThereIsRoom) {
  ShardOf held(100 * kWeight);
  held.Insert(MakeEntry(1, 100 * kWeight));
  EXPECT_NE(held.Find(1), nullptr);
}

TEST(Shard, CountsAWeightlessEntry) {
  ShardOf held(10);
  for (std::uint32_t i = 0; i < 100; ++i) held.Insert(MakeEntry(i, 0));
  EXPECT_LE(held.shard().entries(), 10u);
}

// --- hit ratios

double RatioOf(const Requests& requests, std::size_t count) {
  ShardOf held(count * kWeight);
  std::size_t hits = 0;
  for (const std::uint32_t request : requests) {
    if (held.Find(request)) {
      ++hits;
    } else {
      held.Insert(MakeEntry(request));
    }
  }
  return static_cast<double>(hits) / static_cast<double>(requests.size());
}

double LruRatioOf(const Requests& requests, std::size_t count) {
  std::list<std::uint32_t> order;
  std::unordered_map<std::uint32_t, std::list<std::uint32_t>::iterator> places;
  std::size_t hits = 0;
  for (const std::uint32_t request : requests) {
    const auto found = places.find(request);
    if (found != places.end()) {
      ++hits;
      order.splice(order.begin(), order, found->second);
      continue;
    }
    if (order.size() == count) {
      places.erase(order.back());
      order.pop_back();
    }
    order.push_front(request);
    places[request] = order.begin();
  }
  return static_cast<double>(hits) / static_cast<double>(requests.size());
}

constexpr std::uint32_t kKeys = 100'000;
constexpr std::size_t kCount = 1'000;

// Zipf 1.0 over kKeys keys.
Requests Zipf(std::size_t count) {
  std::vector<double> sums(kKeys);
  double sum = 0;
  for (std::uint32_t i = 0; i < kKeys; ++i) sums[i] = sum += 1.0 / (i + 1);
  std::mt19937_64 random(20231023);
  std::uniform_real_distribution<double> uniform(0, sum);
  Requests requests(count);
  for (auto& request : requests) {
    request = static_cast<std::uint32_t>(
        std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin());
  }
  return requests;
}

TEST(ShardPolicy, HitsFiftyNineOfAHundredZipfRequests) {
  EXPECT_GE(RatioOf(Zipf(1'000'000), kCount), 0.59);
}

TEST(ShardPolicy, AScanLeavesThePopularAlone) {
  Requests requests;
  std::uint32_t scanned = kKeys;
  for (const std::uint32_t request : Zipf(200'000)) {
    requests.push_back(request);
    requests.push_back(scanned++);
  }
  EXPECT_GE(RatioOf(requests, kCount), 1.3 * LruRatioOf(requests, kCount));
}

TEST(ShardPolicy, ALoopLongerThanTheTableStillHits) {
  Requests requests;
  for (std::uint32_t i = 0; i < 150'000; ++i) requests.push_back(i % 1'500);
  EXPECT_LT(LruRatioOf(requests, kCount), 0.01);
  EXPECT_GE(RatioOf(requests, kCount), 0.4);
}

// Paging: each page is read again a little later and never after.
TEST(ShardPolicy, TrafficReadTwiceHitsTheSecondTime) {
  Requests requests;
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    requests.push_back(i + 20);
    requests.push_back(i);
  }
  EXPECT_GE(RatioOf(requests, kCount), 0.49);
}

TEST(ShardPolicy, TrafficReadTwiceDoesNotDriveOutThePopular) {
  Requests requests;
  std::uint32_t page = kKeys;
  for (const std::uint32_t request : Zipf(300'000)) {
    requests.push_back(request);
    if (request % 2 != 0) continue;
    requests.push_back(page + 20);
    requests.push_back(page++);
  }
  EXPECT_GE(RatioOf(requests, kCount), 1.1 * LruRatioOf(requests, kCount));
}

TEST(ShardPolicy, FollowsAPopularityThatDrifts) {
  Requests requests = Zipf(500'000);
  for (std::uint32_t i = 0; i < requests.size(); ++i) requests[i] = (requests[i] + i / 100) % kKeys;
  EXPECT_GE(RatioOf(requests, kCount), 1.05 * LruRatioOf(requests, kCount));
}

TEST(ShardPolicy, FollowsAPopularityThatJumps) {
  Requests requests = Zipf(500'000);
  for (std::uint32_t i = 0; i < requests.size(); ++i) {
    requests[i] = (requests[i] * 7'919 + i / 50'000 * 30'011) % kKeys;
  }
  EXPECT_GE(RatioOf(requests, kCount), 1.05 * LruRatioOf(requests, kCount));
}

}  // namespace
}  // namespace smartcache
