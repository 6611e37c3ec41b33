#include "l2/redis/redis_url.h"

#include <gtest/gtest.h>

namespace smartcache::redis {
namespace {

RedisUrl Parse(std::string_view text) {
  auto url = ParseRedisUrl(text);
  EXPECT_TRUE(url.ok()) << text << ": " << url.status().message();
  return url.ok() ? *url : RedisUrl();
}

TEST(RedisUrl, ReadsAddressAndDatabase) {
  for (const char* text : {"redis://cache.example:6380/3", "valkey://cache.example:6380/3",
                           "redis://cache.example:6380?db=3", "redis://cache.example:6380/?db=3"}) {
    const RedisUrl url = Parse(text);
    EXPECT_EQ(url.topology, Topology::kSingle);
    EXPECT_EQ(url.endpoints, (std::vector<Endpoint>{{"cache.example", 6380, ""}})) << text;
    EXPECT_EQ(url.database, 3);
    EXPECT_EQ(Describe(url), "redis://cache.example:6380/3");
  }
  EXPECT_EQ(Parse("redis://h").endpoints[0].port, 6379);
  EXPECT_EQ(Parse("redis://[::1]:7000/").endpoints[0].host, "::1");
  EXPECT_EQ(Describe(Parse("redis://[::1]")), "redis://[::1]:6379/0");
}

TEST(RedisUrl, DecodesCredentialsAndNeverShowsThem) {
  const RedisUrl url = Parse("redis://app%40x:p%3Aw%2F@h/1");
  EXPECT_EQ(url.user, "app@x");
  EXPECT_EQ(url.password, "p:w/");
  EXPECT_EQ(Describe(url), "redis://h:6379/1");
  EXPECT_EQ(Parse("redis://:secret@h").user, "");
  EXPECT_EQ(Parse("redis://:secret@h").password, "secret");
  EXPECT_EQ(Parse("redis://:sec@ret@h").password, "sec@ret");
  for (const char* bad :
       {"redis://:secret%zz@h", "redis://u:secret@h:x", "redis://u:secret@h/x", "redis://secret@h",
        "redis://u:secret?x@h", "redis://u:1?secret@h", "redis://u:1,b:secret?x@h"}) {
    const auto result = ParseRedisUrl(bad);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.status().message().find("secret"), std::string::npos)
        << result.status().message();
  }
}

TEST(RedisUrl, ReadsUnixSockets) {
  for (const char* text :
       {"unix:///run/redis%20x.sock?db=2", "redis+unix:///run/redis x.sock?db=2"}) {
    const RedisUrl url = Parse(text);
    EXPECT_EQ(url.endpoints[0].path, "/run/redis x.sock") << text;
    EXPECT_EQ(url.database, 2);
    EXPECT_EQ(Describe(url), "unix:///run/redis x.sock?db=2");
  }
  EXPECT_EQ(Parse("unix://u:p@/s").password, "p");
}

TEST(RedisUrl, ReadsSentinels) {
  const RedisUrl url = Parse("redis+sentinel://:pw@s1:5000,s2/main/4?sentinel_password=sp");
  EXPECT_EQ(url.topology, Topology::kSentinel);
  EXPECT_EQ(url.endpoints, (std::vector<Endpoint>{{"s1", 5000, ""}, {"s2", 26379, ""}}));
  EXPECT_EQ(url.service, "main");
  EXPECT_EQ(url.database, 4);
  EXPECT_EQ(url.password, "pw");
  EXPECT_EQ(url.sentinel_password, "sp");
  EXPECT_EQ(Describe(url), "redis+sentinel://s1:5000,s2:26379/main/4");
}

TEST(RedisUrl, ReadsClusters) {
  const RedisUrl url = Parse("valkey+cluster://n1:7000,n2:7001,[::1]:7002");
  EXPECT_EQ(url.topology, Topology::kCluster);
  EXPECT_EQ(url.endpoints.size(), 3u);
  EXPECT_EQ(Describe(url), "redis+cluster://n1:7000,n2:7001,[::1]:7002");
}

TEST(RedisUrl, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"cache.example", "no scheme"},
      {"http://h", "unknown scheme 'http'"},
      {"rediss://h", "TLS support is not built in"},
      {"valkeys+cluster://h", "TLS support is not built in"},
      {"redis://", "no host"},
      {"redis://h:0", "'h:0' is not host or host:port"},
      {"redis://h:65536", "'h:65536' is not host or host:port"},
      {"redis://h:", "'h:' is not host or host:port"},
      {"redis://a,b", "several hosts"},
      {"redis://h/one", "the database 'one' is not a number"},
      {"redis://h/1/2", "the database '1/2' is not a number"},
      {"redis://h?db=-1", "the database '-1' is not a number"},
      {"redis://h?ssl=1", "unknown option 'ssl'"},
      {"redis://h#x", "a fragment"},
      {"redis://%00", "'%00' is not host or host:port"},
      {"unix://run/redis.sock", "a unix socket needs an absolute path"},
      {"unix:///", "a unix socket needs an absolute path"},
      {"redis+sentinel://s1", "no service name"},
      {"redis+sentinel://s1,/main", "an empty host"},
      {"redis+cluster://n1/2", "no databases but 0"},
      {"redis+cluster://n1?db=2", "no databases but 0"},
  };
  for (const auto& [text, what] : cases) {
    const auto url = ParseRedisUrl(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.status().code(), Code::kInvalidArgument);
    EXPECT_NE(url.status().message().find(what), std::string::npos) << url.status().message();
    EXPECT_NE(url.status().message().find("allowed: "), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace smartcache::redis
