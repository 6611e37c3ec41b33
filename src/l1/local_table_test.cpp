#include "l1/local_table.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fork_test.h"

namespace smartcache {
namespace {

Tag HashOf(std::uint32_t number) { return (number + 1) * 0xD1B54A32D192ED03u; }

std::shared_ptr<LocalEntry> MakeEntry(std::uint32_t number, std::size_t weight = 300) {
  auto entry = std::make_shared<LocalEntry>();
  entry->hash = HashOf(number);
  entry->key = std::to_string(number);
  entry->weight = weight;
  return entry;
}

LocalRef FindIn(LocalTable& table, std::uint32_t number) {
  return table.Find(HashOf(number), std::to_string(number));
}

TEST(LocalTable, FindsWhatWasInsertedUntilItIsErased) {
  Stats stats;
  LocalTable table(64u << 20, stats);
  for (std::uint32_t i = 0; i < 1'000; ++i) table.Insert(MakeEntry(i));
  EXPECT_EQ(table.entries(), 1'000u);
  EXPECT_EQ(table.bytes(), 300'000u);
  for (std::uint32_t i = 0; i < 1'000; ++i) {
    EXPECT_EQ(FindIn(table, i)->key.view(), std::to_string(i));
  }
  table.Erase(HashOf(3));
  table.Erase(*FindIn(table, 4));
  EXPECT_EQ(FindIn(table, 3), nullptr);
  EXPECT_EQ(FindIn(table, 4), nullptr);
  EXPECT_EQ(table.entries(), 998u);
  table.Clear();
  EXPECT_EQ(table.entries(), 0u);
  EXPECT_EQ(FindIn(table, 5), nullptr);
}

TEST(LocalTable, KeepsNothingInNoBytes) {
  Stats stats;
  LocalTable table(0, stats);
  table.Insert(MakeEntry(1));
  EXPECT_EQ(FindIn(table, 1), nullptr);
}

TEST(LocalTable, CountsEvictionsButNotReplacements) {
  Stats stats;
  LocalTable table(3'000, stats);
  for (std::uint32_t i = 0; i < 10; ++i) table.Insert(MakeEntry(i));
  table.Insert(MakeEntry(9));
  EXPECT_EQ(stats.Get(Counter::kLocalEvict), 0u);
  table.Insert(MakeEntry(10));
  EXPECT_EQ(stats.Get(Counter::kLocalEvict), 1u);
}

TEST(LocalTable, KeepsAnEntryOfAQuarterOfALargeTable) {
  Stats stats;
  LocalTable table(64u << 20, stats);
  table.Insert(MakeEntry(1, 16u << 20));
  EXPECT_NE(FindIn(table, 1), nullptr);
}

// A value whose destructor comes back to the table, as Python's may.
class Returning final : public Value {
 public:
  explicit Returning(LocalTable& table) : table_(table) {}
  ~Returning() override {
    for (std::uint32_t i = 0; i < 20; ++i) static_cast<void>(FindIn(table_, i));
  }
  std::size_t weight() const override { return 100; }

 private:
  LocalTable& table_;
};

TEST(LocalTable, DestroysEntriesOutsideItsLocks) {
  Stats stats;
  LocalTable table(3'000, stats);
  const auto insert = [&table](std::uint32_t number) {
    auto entry = MakeEntry(number);
    entry->value = std::make_unique<Returning>(table);
    table.Insert(std::move(entry));
  };
  for (std::uint32_t i = 0; i < 20; ++i) insert(i);
  EXPECT_EQ(stats.Get(Counter::kLocalEvict), 10u);
  for (std::uint32_t i = 0; i < 20; ++i) insert(i);
  for (std::uint32_t i = 0; i < 5; ++i) table.Erase(HashOf(i));
  table.Clear();
  EXPECT_EQ(table.entries(), 0u);
}

TEST(LocalTable, StaysInItsBoundAndAnswersOnlyTheKeyAskedUnderManyThreads) {
  constexpr std::size_t kMaxBytes = 32u << 20;
  Stats stats;
  LocalTable table(kMaxBytes, stats);
  std::atomic<int> running{3};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&, seed] {
      std::minstd_rand random(seed + 1);
      for (int i = 0; i < 20'000; ++i) {
        const std::uint32_t number = random() % 1'000;
        const LocalRef found = FindIn(table, number);
        if (found && found->key.view() != std::to_string(number)) ++wrong;
        if (!found) table.Insert(MakeEntry(number, 1 + random() % 200'000));
        if (found && random() % 8 == 0) table.Erase(*found);
        if (random() % 16 == 0) table.Erase(HashOf(random() % 1'000));
        if (random() % 4'096 == 0) table.Clear();
      }
      --running;
    });
  }
  while (running != 0) EXPECT_LE(table.bytes(), kMaxBytes);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(stats.Get(Counter::kLocalEvict), 0u);
}

TEST(LocalTable, AForkedChildStartsEmptyWhateverOtherThreadsHeld) {
  SMARTCACHE_SKIP_FORK_AMID_THREADS();
  Stats stats;
  LocalTable table(1u << 20, stats);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 2; ++seed) {
    threads.emplace_back([&, seed] {
      for (std::uint32_t i = seed; !stop; ++i) table.Insert(MakeEntry(i % 5'000));
    });
  }
  for (int forks = 0; forks < 30; ++forks) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(10);
      table.AfterFork();
      const bool empty = table.entries() == 0 && table.bytes() == 0;
      const LocalRef found = FindIn(table, 1);
      _exit(empty && !found ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace smartcache
