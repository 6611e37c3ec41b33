// The store and the backplane on a real cluster of three primaries and a replica.
#include "l2/redis/cluster_servers.h"

#include <gtest/gtest.h>

#include <set>

#include "l2/redis/test_server.h"
#include "l2/store_conformance.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

using redis::Ask;
using redis::AskText;
using redis::Eventually;
using redis::TestServer;
using Tags = std::vector<Tag>;

constexpr Duration kLong = std::chrono::minutes(5);
constexpr Duration kFenceLimit = std::chrono::seconds(10);

class TestCluster {
 public:
  TestCluster() {
    for (int i = 0; i < 4; ++i) {
      servers_.push_back(std::make_unique<TestServer>(std::vector<std::string>{
          "--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--cluster-port",
          std::to_string(redis::FreePort()), "--cluster-replica-validity-factor", "0",
          "--repl-diskless-sync-delay", "0"}));
    }
    const char* const ranges[3][2] = {{"0", "5460"}, {"5461", "10922"}, {"10923", "16383"}};
    for (std::size_t i = 0; i < 4; ++i) {
      if (i < 3) {
        EXPECT_EQ(At(i, {"CLUSTER", "ADDSLOTSRANGE", ranges[i][0], ranges[i][1]}), "OK");
      }
      const std::string port = std::to_string(servers_[i]->port());
      const redis::ReplyPtr bus = Ask(servers_[i]->endpoint(), {"CONFIG", "GET", "cluster-port"});
      // Everybody with everybody: waiting for gossip takes seconds.
      for (std::size_t other = 0; other < i; ++other) {
        EXPECT_EQ(At(other, {"CLUSTER", "MEET", "127.0.0.1", port, redis::Text(*bus->element[1])}),
                  "OK");
      }
    }
    const std::string primary = At(0, {"CLUSTER", "MYID"});
    EXPECT_TRUE(Eventually([&] { return At(3, {"CLUSTER", "REPLICATE", primary}) == "OK"; }));
    EXPECT_TRUE(Eventually([&] {
      for (std::size_t i = 0; i < 4; ++i) {
        if (At(i, {"CLUSTER", "INFO"}).find("cluster_state:ok") == std::string::npos) return false;
        if (At(i, {"CLUSTER", "NODES"}).find("slave " + primary) == std::string::npos) return false;
      }
      return At(3, {"INFO", "replication"}).find("master_link_status:up") != std::string::npos;
    }));
  }
  std::string At(std::size_t server, redis::Words command) const {
    return AskText(servers_[server]->endpoint(), command);
  }
  TestServer& server(std::size_t i) { return *servers_[i]; }
  [[nodiscard]] std::string url() const {
    return "redis+cluster://127.0.0.1:" + std::to_string(redis::FreePort()) + "," +
           ToString(servers_[1]->endpoint()) + "," + ToString(servers_[0]->endpoint());
  }

  static TestCluster& Shared() {
    static TestCluster cluster;
    return cluster;
  }

 private:
  std::vector<std::unique_ptr<TestServer>> servers_;
};

Options TestOptions() {
  Options options;
  options.prefix = options.channel = TestServer::NewPrefix();
  options.redis_timeout = std::chrono::seconds(5);
  options.trust_bound = std::chrono::seconds(20);
  return options;
}

struct ClusterHarness {
  static constexpr bool kEmbedded = false;
  ~ClusterHarness() { EXPECT_TRUE(Open({})->Clear().ok()); }
  std::unique_ptr<Store> Open(const Options& asked) {
    Options options = asked;
    options.prefix = options.channel = prefix;
    options.start_listener = false;
    options.redis_timeout = std::chrono::seconds(10);
    auto parts = OpenRedis(TestCluster::Shared().url(), options, Clock::System());
    EXPECT_TRUE(parts.ok()) << parts.status().message();
    return std::move(parts->store);
  }
  bool Eventually(Duration span, const std::function<bool()>& condition) {
    return redis::Eventually(condition, span + std::chrono::seconds(20));
  }
  const std::string prefix = TestServer::NewPrefix();
};
INSTANTIATE_TYPED_TEST_SUITE_P(Cluster, StoreConformance, ClusterHarness);

// What a process hears.
struct Listening final : BackplaneSink {
  Listening(TestCluster& cluster, const Options& options) {
    auto opened = OpenRedis(cluster.url(), options, Clock::System());
    EXPECT_TRUE(opened.ok());
    parts = *std::move(opened);
    EXPECT_TRUE(parts.backplane->Start(*this));
    EXPECT_TRUE(Eventually([&] { return connects == 1; }));
  }
  ~Listening() override { parts.backplane->Stop(); }
  void OnConnected(std::uint64_t present) override {
    epoch = present;
    ++connects;
  }
  void OnFence(Instant) override {}
  void OnBump(std::span<const Tag> tags) override {
    MutexLock lock(mutex);
    heard.insert(tags.begin(), tags.end());
  }
  void OnClear() override { ++clears; }
  void OnDisconnected() override { ++losses; }
  std::set<Tag> Heard() {
    MutexLock lock(mutex);
    return heard;
  }

  RedisParts parts;
  std::atomic<int> connects{0}, losses{0}, clears{0};
  std::atomic<std::uint64_t> epoch{0};
  Mutex mutex;
  std::set<Tag> heard GUARDED_BY(mutex);
};

TEST(ClusterServers, AllBucketsAreHeardBeforeAFenceIsAnswered) {
  const Options options = TestOptions();
  Listening one(TestCluster::Shared(), options), two(TestCluster::Shared(), options);
  Tags tags;
  for (Tag bucket = 0; bucket < 256; ++bucket) tags.push_back(bucket << 56 | 1);
  for (int round = 0; round < 20; ++round) {
    for (Tag& tag : tags) ++tag;
    ASSERT_TRUE(one.parts.store->Bump(tags, {}).ok());
    ASSERT_TRUE(two.parts.backplane->Fence(kFenceLimit).ok());
    const std::set<Tag> heard = two.Heard();
    for (const Tag tag : tags) ASSERT_TRUE(heard.contains(tag)) << round;
  }
  EXPECT_EQ(one.Heard().size(), 0u);
  ASSERT_TRUE(one.parts.store->Clear().ok());
  ASSERT_TRUE(two.parts.backplane->Fence(kFenceLimit).ok());
  EXPECT_EQ(two.clears, 1);
  EXPECT_EQ(two.parts.store->Tokens(tags)->epoch, two.epoch);
}

TEST(ClusterServers, ReleasedLocksWakeTheirWaitersByMessage) {
  const Options options = TestOptions();
  Listening one(TestCluster::Shared(), options), two(TestCluster::Shared(), options);
  for (const std::string key : {"a", "b", "c", "d"}) {
    const auto begun = one.parts.store->Begin(key, 11, std::chrono::hours(1));
    ASSERT_TRUE(begun.ok() && begun->locked);
    std::atomic<bool> woken{false};
    std::thread waiter([&] {
      const auto unlocked = two.parts.store->AwaitUnlock(key, std::chrono::seconds(30));
      woken = unlocked.ok() && *unlocked;
    });
    ASSERT_TRUE(one.parts.store->Fill({key, "v", kLong, begun->key_token.token, 11}).value());
    waiter.join();
    EXPECT_TRUE(woken.load());
  }
}

TEST(ClusterServers, FollowsSlotsThatMove) {
  TestCluster cluster;
  const Options options = TestOptions();
  Listening one(cluster, options);
  Store& store = *one.parts.store;
  constexpr unsigned kBucket = 0;
  const Tag tag = Tag{kBucket} << 56 | 7;
  const std::uint16_t number = redis::SlotOf(kBucket);
  const std::string slot = std::to_string(number);
  const std::size_t from = number <= 5460 ? 0 : number <= 10922 ? 1 : 2, to = (from + 1) % 3;
  const std::string from_id = cluster.At(from, {"CLUSTER", "MYID"});
  const std::string to_id = cluster.At(to, {"CLUSTER", "MYID"});
  const Token token = store.Mint(Tags{tag}, {})->tokens[0].token;
  Options mute = options;
  mute.start_listener = false;
  const auto deaf = OpenRedis(cluster.url(), mute, Clock::System());
  EXPECT_EQ(deaf->store->Tokens(Tags{tag})->tokens[0].token, token);

  // Under way: a key that has gone already is asked for at the new place.
  ASSERT_EQ(cluster.At(to, {"CLUSTER", "SETSLOT", slot, "IMPORTING", from_id}), "OK");
  ASSERT_EQ(cluster.At(from, {"CLUSTER", "SETSLOT", slot, "MIGRATING", to_id}), "OK");
  const redis::ReplyPtr keys =
      Ask(cluster.server(from).endpoint(), {"CLUSTER", "GETKEYSINSLOT", slot, "10"});
  ASSERT_EQ(keys->elements, 1u);
  const std::string port = std::to_string(cluster.server(to).port());
  ASSERT_EQ(
      cluster.At(from, {"MIGRATE", "127.0.0.1", port, redis::Text(*keys->element[0]), "0", "5000"}),
      "OK");
  const auto asked = store.Tokens(Tags{tag});
  ASSERT_TRUE(asked.ok()) << asked.status().message();
  EXPECT_EQ(asked->tokens[0].token, token);
  // What names several keys, some of which are not there, has to wait for the move: no answer then.
  EXPECT_FALSE(store.Mint(Tags{tag}, {}).ok());
  ASSERT_EQ(cluster.At(from, {"SCRIPT", "FLUSH"}), "OK");
  ASSERT_EQ(cluster.At(to, {"SCRIPT", "FLUSH"}), "OK");
  EXPECT_TRUE(store.Bump(Tags{tag}, {}).ok());
  EXPECT_EQ(store.Tokens(Tags{tag})->tokens[0].token, kNoToken);

  // Done: the subscription to it ends, which is a loss; then all goes on at the new place.
  for (std::size_t i : {to, from, (from + 2) % 3}) {
    ASSERT_EQ(cluster.At(i, {"CLUSTER", "SETSLOT", slot, "NODE", to_id}), "OK");
  }
  // Who does not listen is told by the first call, and follows within it.
  const auto told = deaf->store->Tokens(Tags{tag});
  EXPECT_TRUE(told.ok()) << told.status().message();
  EXPECT_TRUE(Eventually([&] { return one.losses >= 1; }));
  ASSERT_TRUE(Eventually([&] { return store.Mint(Tags{tag}, {}).ok(); }));
  ASSERT_TRUE(Eventually([&] { return one.parts.backplane->Fence(kFenceLimit).ok(); }));
  const auto other = OpenRedis(cluster.url(), options, Clock::System());
  ASSERT_TRUE(other->store->Bump(Tags{tag}, {}).ok());
  ASSERT_TRUE(one.parts.backplane->Fence(kFenceLimit).ok());
  EXPECT_TRUE(one.Heard().contains(tag));
}

TEST(ClusterServers, FailoverIsALossAndAnotherEpoch) {
  TestCluster cluster;
  const Options options = TestOptions();
  Listening one(cluster, options);
  Store& store = *one.parts.store;
  Tags tags;
  for (Tag bucket = 0; bucket < 256; ++bucket) tags.push_back(bucket << 56 | 1);
  const auto before = store.Mint(tags, {});
  ASSERT_TRUE(before.ok()) << before.status().message();
  EXPECT_EQ(before->epoch, one.epoch);

  cluster.server(0).Kill();
  ASSERT_TRUE(Eventually([&] { return one.losses >= 1; }));
  ASSERT_TRUE(Eventually([&] { return one.connects >= 2; }, std::chrono::seconds(60)));
  ASSERT_TRUE(Eventually([&] { return store.Mint(tags, {}).ok(); }));
  const auto after = store.Mint(tags, {});
  ASSERT_TRUE(after.ok()) << after.status().message();
  EXPECT_NE(after->epoch, before->epoch);
  EXPECT_EQ(after->epoch, one.epoch);
  ASSERT_TRUE(one.parts.backplane->Fence(kFenceLimit).ok());
}

TEST(ClusterServers, RestartedPrimaryIsAnotherEpochWithoutAListener) {
  TestCluster cluster;
  Options options = TestOptions();
  options.start_listener = false;
  auto parts = OpenRedis(cluster.url(), options, Clock::System());
  Tags tags;
  for (Tag bucket = 0; bucket < 256; ++bucket) tags.push_back(bucket << 56 | 1);
  const auto before = parts->store->Mint(tags, {});
  ASSERT_TRUE(before.ok()) << before.status().message();
  cluster.server(2).Kill();
  const auto during = parts->store->Tokens(tags);
  EXPECT_FALSE(during.ok());
  cluster.server(2).Start();
  ASSERT_TRUE(Eventually([&] { return parts->store->Tokens(tags).ok(); }));
  EXPECT_NE(parts->store->Tokens(tags)->epoch, before->epoch);
}

TEST(SlotMap, KnowsTheSlotsOfBuckets) {
  // As CLUSTER KEYSLOT says.
  for (unsigned bucket : {0u, 1u, 17u, 128u, 255u}) {
    const std::string key = "x:" + redis::Keys::HashTag(bucket) + ":y";
    const redis::ReplyPtr slot =
        Ask(TestCluster::Shared().server(0).endpoint(), {"CLUSTER", "KEYSLOT", key});
    EXPECT_EQ(slot->integer, redis::SlotOf(bucket));
  }
}

TEST(SlotMap, ReadsRedirections) {
  const redis::Endpoint asked{.host = "seed", .port = 1, .path = {}};
  EXPECT_EQ(ToString(*redis::ReadRedirection("MOVED 3999 10.0.0.1:6381", asked)), "10.0.0.1:6381");
  EXPECT_EQ(ToString(*redis::ReadRedirection("ASK 3999 :6381", asked)), "seed:6381");
  EXPECT_EQ(ToString(*redis::ReadRedirection("ASK 3999 ::1:6381", asked)), "[::1]:6381");
  EXPECT_FALSE(redis::ReadRedirection("MOVED 3999", asked).ok());
  EXPECT_FALSE(redis::ReadRedirection("MOVED 3999 host:0", asked).ok());
}

}  // namespace
}  // namespace smartcache
