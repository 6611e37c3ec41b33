#include "l1/ghosts.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace smartcache {
namespace {

std::uint32_t HashOf(std::uint32_t number) { return (number + 1) * 0x85EBCA6Bu; }

TEST(Ghosts, ForgetsTheOneTaken) {
  Ghosts ghosts;
  ghosts.SetWindow(16);
  EXPECT_FALSE(ghosts.Take(7));
  ghosts.Add(7);
  EXPECT_TRUE(ghosts.Take(7));
  EXPECT_FALSE(ghosts.Take(7));
}

TEST(Ghosts, RemembersAHashOfZero) {
  Ghosts ghosts;
  ghosts.SetWindow(16);
  EXPECT_FALSE(ghosts.Take(0));
  ghosts.Add(0);
  EXPECT_TRUE(ghosts.Take(0));
}

TEST(Ghosts, ForgetsWhatIsOlderThanTheWindow) {
  Ghosts ghosts;
  ghosts.SetWindow(100);
  for (std::uint32_t i = 0; i < 101; ++i) ghosts.Add(HashOf(i));
  EXPECT_FALSE(ghosts.Take(HashOf(0)));
  EXPECT_TRUE(ghosts.Take(HashOf(100)));
}

TEST(Ghosts, RemembersNearlyAllOfTheWindow) {
  constexpr std::uint32_t kWindow = 10'000;
  Ghosts ghosts;
  ghosts.SetWindow(kWindow);
  for (std::uint32_t i = 0; i < 3 * kWindow; ++i) ghosts.Add(HashOf(i));
  std::uint32_t remembered = 0;
  for (std::uint32_t i = 0; i < 3 * kWindow; ++i) remembered += ghosts.Take(HashOf(i)) ? 1 : 0;
  EXPECT_LE(remembered, kWindow);
  EXPECT_GE(remembered, kWindow * 9 / 10);
}

TEST(Ghosts, KeepsWhatItKnowsWhenTheWindowGrows) {
  Ghosts ghosts;
  ghosts.SetWindow(8);
  for (std::uint32_t i = 0; i < 4; ++i) ghosts.Add(HashOf(i));
  ghosts.SetWindow(1'000);
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_TRUE(ghosts.Take(HashOf(i))) << i;
}

TEST(Ghosts, ClearForgetsAll) {
  Ghosts ghosts;
  ghosts.SetWindow(16);
  for (std::uint32_t i = 0; i < 16; ++i) ghosts.Add(HashOf(i));
  ghosts.Clear();
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_FALSE(ghosts.Take(HashOf(i)));
}

}  // namespace
}  // namespace smartcache
