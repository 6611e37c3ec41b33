#include "l2/redis/redis_store.h"

#include <gtest/gtest.h>

#include "l2/redis/test_server.h"
#include "l2/store_conformance.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

using redis::TestServer;

struct RedisHarness {
  static constexpr bool kEmbedded = false;
  ~RedisHarness() {
    Options options;
    options.prefix = prefix;
    EXPECT_TRUE(Open(options)->Clear().ok());
  }
  std::unique_ptr<Store> Open(const Options& asked) {
    Options options = asked;
    options.prefix = prefix;
    options.channel = prefix;
    options.start_listener = false;
    options.redis_timeout = std::chrono::seconds(10);
    auto parts = OpenRedis(TestServer::SharedUrl(), options, Clock::System());
    EXPECT_TRUE(parts.ok()) << parts.status().message();
    return std::move(parts->store);
  }
  bool Eventually(Duration span, const std::function<bool()>& condition) {
    return redis::Eventually(condition, span + std::chrono::seconds(20));
  }
  const std::string prefix = TestServer::NewPrefix() + "*[x]";
};

INSTANTIATE_TYPED_TEST_SUITE_P(Redis, StoreConformance, RedisHarness);

TEST(RedisStore, ReadsNoMoreThanAnEntryCanHave) {
  RedisHarness harness;
  Options options;
  options.max_payload_bytes = 1000;
  const auto store = harness.Open(options);
  const std::string rubbish(10 << 20, 'x');
  ASSERT_TRUE(store->Put("large", rubbish, std::chrono::minutes(1), PutCondition::kAlways).ok());
  const auto reply = store->Get("large", {});
  ASSERT_TRUE(reply.ok() && reply->entry.has_value());
  EXPECT_LT(reply->entry->envelope.size(), 100u << 10);
  EXPECT_GE(reply->entry->envelope.size(), options.max_payload_bytes);
}

TEST(RedisStore, LockWithoutEndIsTakenOver) {
  RedisHarness harness;
  const auto store = harness.Open(Options());
  constexpr Duration kLease = std::chrono::seconds(5);
  ASSERT_TRUE(store->Begin("k", 1, kLease)->locked);
  const std::string lock = redis::AskText(
      TestServer::Shared(), {"EVAL", "return redis.call('KEYS', ARGV[1])[1]", "0",
                             harness.prefix.substr(0, harness.prefix.find('*')) + "*:l:k"});
  ASSERT_NE(redis::Ask(TestServer::Shared(), {"PERSIST", lock}), nullptr);
  EXPECT_TRUE(store->Begin("k", 2, kLease)->locked);
  EXPECT_FALSE(store->Begin("k", 3, kLease)->locked);
}

}  // namespace
}  // namespace smartcache
