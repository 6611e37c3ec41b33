#include "smartcache/clock.h"

#include <gtest/gtest.h>

namespace smartcache {
namespace {

using std::chrono::seconds;

TEST(Clock, OfTheMachineGoesForward) {
  const Instant before = Clock::System().Now();
  EXPECT_GT(before, Instant::zero());
  EXPECT_LE(before, Clock::System().Now());
}

TEST(Clock, AddsWithoutOverflow) {
  EXPECT_EQ(After(seconds(1), seconds(2)), seconds(3));
  EXPECT_EQ(After(seconds(1), kNever), kNever);
  EXPECT_EQ(After(kNever - seconds(1), seconds(2)), kNever);
}

TEST(ManualClock, MovesOnlyByHand) {
  ManualClock clock;
  const Instant before = clock.Now();
  EXPECT_EQ(clock.Now(), before);
  clock.Advance(seconds(5));
  EXPECT_EQ(clock.Now() - before, seconds(5));
}

}  // namespace
}  // namespace smartcache
