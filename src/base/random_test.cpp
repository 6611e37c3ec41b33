#include "base/random.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <set>
#include <thread>
#include <vector>

namespace smartcache {
namespace {

using Numbers = std::array<std::uint64_t, 8>;

Numbers Draw() {
  Numbers numbers;
  for (auto& number : numbers) number = RandomU64();
  return numbers;
}

TEST(RandomU64, DoesNotRepeat) {
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(seen.insert(RandomU64()).second);
  EXPECT_FALSE(seen.contains(0));
}

TEST(RandomU64, SetsEveryBitHalfOfTheTime) {
  std::array<int, 64> ones{};
  constexpr int kDraws = 10'000;
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t number = RandomU64();
    for (std::size_t bit = 0; bit < ones.size(); ++bit) {
      ones[bit] += static_cast<int>(number >> bit & 1);
    }
  }
  // Six standard deviations (50) for each of 64 bits: wrong once in eight million runs.
  for (const int count : ones) EXPECT_NEAR(count, kDraws / 2.0, 300);
}

TEST(RandomU64, DiffersBetweenThreads) {
  std::vector<Numbers> drawn(4);
  std::vector<std::thread> threads;
  for (auto& numbers : drawn) threads.emplace_back([&] { numbers = Draw(); });
  for (auto& thread : threads) thread.join();
  std::set<std::uint64_t> seen;
  for (const auto& numbers : drawn) seen.insert(numbers.begin(), numbers.end());
  EXPECT_EQ(seen.size(), 4 * Numbers().size());
}

TEST(RandomU64, AForkedChildDoesNotRepeatItsParent) {
  (void)RandomU64();  // so that there is a buffer to inherit
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const Numbers numbers = Draw();
    const bool sent = write(ends[1], &numbers, sizeof numbers) == sizeof numbers;
    _exit(sent ? 0 : 1);
  }
  close(ends[1]);
  Numbers theirs{};
  EXPECT_EQ(read(ends[0], &theirs, sizeof theirs), static_cast<ssize_t>(sizeof theirs));
  close(ends[0]);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const Numbers ours = Draw();
  std::set<std::uint64_t> seen(ours.begin(), ours.end());
  seen.insert(theirs.begin(), theirs.end());
  EXPECT_EQ(seen.size(), 2 * ours.size());
}

}  // namespace
}  // namespace smartcache
