#include "l2/redis/sentinel.h"

#include <gtest/gtest.h>

#include "l2/redis/test_server.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

using redis::Eventually;
using redis::TestServer;

// A primary, its replica, and a sentinel that fails over quickly.
struct Service {
  Service()
      : replica({"--replicaof", "127.0.0.1 " + std::to_string(primary.port())}),
        sentinel("sentinel monitor main 127.0.0.1 " + std::to_string(primary.port()) +
                     " 1\nsentinel down-after-milliseconds main 300\n"
                     "sentinel failover-timeout main 2000\n",
                 {"--sentinel"}) {
    EXPECT_TRUE(Eventually([&] {
      const std::string info = redis::AskText(sentinel.endpoint(), {"INFO", "sentinel"});
      return info.find("status=ok") != info.npos && info.find("slaves=1") != info.npos;
    }));
  }
  // One sentinel of the three exists.
  [[nodiscard]] std::string url() const {
    const std::string dead = "127.0.0.1:" + std::to_string(redis::FreePort());
    return "redis+sentinel://" + dead + "," + ToString(sentinel.endpoint()) + "," + dead +
           "/main/1";
  }
  TestServer primary, replica, sentinel;
};

Options TestOptions() {
  Options options;
  options.prefix = options.channel = TestServer::NewPrefix();
  options.redis_timeout = std::chrono::seconds(5);
  options.trust_bound = std::chrono::seconds(2);
  return options;
}

struct CountingSink final : BackplaneSink {
  void OnConnected(std::uint64_t epoch) override { epochs[connects++ % 2] = epoch; }
  void OnFence(Instant) override {}
  void OnBump(std::span<const Tag>) override { ++bumps; }
  void OnClear() override {}
  void OnDisconnected() override { ++losses; }
  std::atomic<int> connects{0}, losses{0}, bumps{0};
  std::atomic<std::uint64_t> epochs[2];
};

TEST(Sentinels, FollowTheServiceToItsNewPrimary) {
  Service service;
  const Options options = TestOptions();
  auto parts = OpenRedis(service.url(), options, Clock::System());
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  Store& store = *parts->store;
  CountingSink sink;
  ASSERT_TRUE(parts->backplane->Start(sink));
  ASSERT_TRUE(Eventually([&] { return sink.connects == 1; }));
  const auto put = store.Put("k", "v", kNever, PutCondition::kAlways);
  ASSERT_TRUE(put.ok()) << put.status().message();
  EXPECT_EQ(put->epoch, sink.epochs[0]);

  service.primary.Kill();
  ASSERT_TRUE(Eventually([&] { return sink.losses == 1; }));
  ASSERT_TRUE(Eventually([&] { return sink.connects == 2; }, std::chrono::seconds(60)));
  ASSERT_TRUE(Eventually([&] { return store.Tokens({}).ok(); }));
  EXPECT_NE(sink.epochs[1], sink.epochs[0]);
  EXPECT_EQ(store.Tokens({})->epoch, sink.epochs[1]);
  EXPECT_TRUE(store.Put("k", "w", kNever, PutCondition::kAlways).ok());

  const auto other = OpenRedis(service.url(), options, Clock::System());
  ASSERT_TRUE(other->store->Bump(std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(parts->backplane->Fence(options.redis_timeout).ok());
  EXPECT_EQ(sink.bumps, 1);
  parts->backplane->Stop();
}

TEST(Sentinels, UnknownServiceIsUnavailableByName) {
  Service service;
  const std::string url = "redis+sentinel://" + ToString(service.sentinel.endpoint()) + "/other";
  const auto parts = OpenRedis(url, TestOptions(), Clock::System());
  ASSERT_TRUE(parts.ok());
  const auto reply = parts->store->Get("k", {});
  EXPECT_EQ(reply.status().code(), Code::kUnavailable);
  EXPECT_NE(reply.status().message().find("no service 'other'"), std::string::npos);
}

}  // namespace
}  // namespace smartcache
