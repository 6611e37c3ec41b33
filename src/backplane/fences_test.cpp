#include "backplane/fences.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace smartcache {
namespace {

constexpr Duration kNoTime{0}, kLong = std::chrono::seconds(30);

TEST(Fences, AreNotToBeHadWithoutAConnection) {
  Fences fences;
  EXPECT_EQ(fences.Ask(), 0u);
  fences.SetConnected(true);
  EXPECT_NE(fences.Ask(), 0u);
}

TEST(Fences, OneServesAllWhoAskedBeforeItWasSent) {
  Fences fences;
  fences.SetConnected(true);
  EXPECT_FALSE(fences.Wanted());
  const auto first = fences.Ask();
  EXPECT_EQ(fences.Ask(), first);
  EXPECT_TRUE(fences.Wanted());
  EXPECT_EQ(fences.Send(), first);
  EXPECT_FALSE(fences.Wanted());
  // Who asks now may have missed what it proves.
  const auto second = fences.Ask();
  EXPECT_NE(second, first);
  EXPECT_TRUE(fences.Wanted());
  fences.Answered(first);
  EXPECT_TRUE(fences.Await(first, kNoTime));
  EXPECT_FALSE(fences.Await(second, kNoTime));
  EXPECT_EQ(fences.Send(), second);
  fences.Answered(second);
  EXPECT_TRUE(fences.Await(second, kNoTime));
}

TEST(Fences, LaterAnswersServeEarlierAskers) {
  Fences fences;
  fences.SetConnected(true);
  const auto asked = fences.Ask();
  EXPECT_EQ(fences.Send(), asked);
  fences.Answered(fences.Send());
  EXPECT_TRUE(fences.Await(asked, kNoTime));
}

TEST(Fences, LossEndsTheWaitingAtOnce) {
  Fences fences;
  fences.SetConnected(true);
  const auto number = fences.Ask();
  std::atomic<bool> done{false};
  std::thread loser([&] {
    while (!done) {
      fences.SetConnected(false);
      fences.SetConnected(true);
    }
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(fences.Await(number, kLong));
  EXPECT_LT(std::chrono::steady_clock::now() - start, kLong);
  done = true;
  loser.join();
  // The numbers go on: an answer to a fence before the loss is none to one after it.
  EXPECT_EQ(fences.Ask(), number);
  EXPECT_EQ(fences.Send(), number);
  std::thread answerer([&] { fences.Answered(number); });
  EXPECT_TRUE(fences.Await(number, kLong));
  answerer.join();
}

}  // namespace
}  // namespace smartcache
