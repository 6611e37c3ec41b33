#include "l2/redis/values.h"

#include <gtest/gtest.h>

#include <limits>

namespace smartcache::redis {
namespace {

Duration TtlOf(long long said) {
  valkeyReply reply{};
  reply.type = VALKEY_REPLY_INTEGER;
  reply.integer = said;
  return ReadTtl(reply);
}

TEST(Values, ATimeToLiveIsAsTheServerSays) {
  EXPECT_EQ(TtlOf(0), Duration(0));
  EXPECT_EQ(TtlOf(1500), std::chrono::milliseconds(1500));
  EXPECT_EQ(TtlOf(kNoExpiry), kNever);
  EXPECT_EQ(TtlOf(kNoKey), Duration(0));
}

TEST(Values, ATimeToLiveThatCannotBeDoesNotOverflow) {
  constexpr long long kMost = std::numeric_limits<long long>::max();
  for (const long long said : {kMost, kMost - 1, kMost / 1'000'000}) EXPECT_EQ(TtlOf(said), kNever);
  for (const long long said : {-3LL, -kMost}) EXPECT_EQ(TtlOf(said), Duration(0));
  const Duration longest = TtlOf(kMost / 1'000'000 - 1);
  EXPECT_LT(longest, longest + std::chrono::milliseconds(1));
}

}  // namespace
}  // namespace smartcache::redis
