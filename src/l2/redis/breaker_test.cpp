#include "l2/redis/breaker.h"

#include <gtest/gtest.h>

namespace smartcache::redis {
namespace {

using std::chrono::milliseconds;
using Permit = Breaker::Permit;

constexpr std::uint64_t kMiddle = std::uint64_t{1} << 63;  // of the random numbers: no jitter
constexpr Instant kStart = std::chrono::hours(5);

Instant At(int millis) { return kStart + milliseconds(millis); }

TEST(Breaker, FollowsTheTable) {
  enum Action { kAsk, kFail, kFailProbe, kSucceed };
  struct Step {
    int at;
    Action action;
    Permit expected = Permit::kCall;  // of kAsk
  };
  const Step table[] = {
      {0, kAsk, Permit::kCall},
      {0, kAsk, Permit::kCall},  // two calls under way
      {10, kFail},               // one fails: open for 50 ms
      {11, kFail},               // so does the other: counts once
      {59, kAsk, Permit::kRefused},
      {61, kAsk, Permit::kProbe},
      {62, kAsk, Permit::kRefused},  // one probe only
      {65, kFailProbe},              // open for 100 ms
      {164, kAsk, Permit::kRefused},
      {166, kAsk, Permit::kProbe},
      {166, kFailProbe},  // 200
      {367, kAsk, Permit::kProbe},
      {367, kFailProbe},  // 400
      {768, kAsk, Permit::kProbe},
      {768, kFailProbe},  // 800
      {1569, kAsk, Permit::kProbe},
      {1569, kFailProbe},  // 1 s, the most
      {2568, kAsk, Permit::kRefused},
      {2570, kAsk, Permit::kProbe},
      {2570, kFailProbe},
      {3571, kAsk, Permit::kProbe},
      {3572, kSucceed},
      {3572, kAsk, Permit::kCall},
      {3573, kFail},  // the first back-off again
      {3624, kAsk, Permit::kProbe},
  };
  Breaker breaker(milliseconds(250));
  for (const Step& step : table) {
    const Instant now = At(step.at);
    switch (step.action) {
      case kAsk:
        EXPECT_EQ(breaker.WouldPermit(now), step.expected != Permit::kRefused) << step.at;
        EXPECT_EQ(breaker.Ask(now), step.expected) << step.at;
        break;
      case kFail:
        breaker.Failed(Permit::kCall, now, kMiddle);
        break;
      case kFailProbe:
        breaker.Failed(Permit::kProbe, now, kMiddle);
        break;
      case kSucceed:
        breaker.Succeeded();
        break;
    }
  }
}

TEST(Breaker, GivesUpAProbeThatNeverReports) {
  Breaker breaker(milliseconds(250));
  breaker.Failed(Permit::kCall, At(0), kMiddle);
  EXPECT_EQ(breaker.Ask(At(60)), Permit::kProbe);
  EXPECT_EQ(breaker.Ask(At(309)), Permit::kRefused);
  EXPECT_EQ(breaker.Ask(At(311)), Permit::kProbe);
}

TEST(Breaker, VariesTheBackoff) {
  Breaker early(milliseconds(250)), late(milliseconds(250));
  early.Failed(Permit::kCall, At(0), 0);
  late.Failed(Permit::kCall, At(0), ~std::uint64_t{0});
  EXPECT_FALSE(early.WouldPermit(At(39)));
  EXPECT_TRUE(early.WouldPermit(At(41)));
  EXPECT_FALSE(late.WouldPermit(At(59)));
  EXPECT_TRUE(late.WouldPermit(At(61)));
}

}  // namespace
}  // namespace smartcache::redis
