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
  for (const char* bad : {"redis://:secret%zz@h", "redis://u:secret@h:x", "redis://u:secret@h/x",
                          "redis://secret@h", "redis://u:secret?x@h", "redis://u:1?secret@h",
                          "redis://u:1,b:secret?x@h", "redis://u:1?db=secret@h",
                          "rediss://u:1?ssl_cert_reqs=secret@h", "redis://u:1?secret=x&y@h"}) {
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

TEST(RedisUrl, ReadsHowToUseTls) {
  EXPECT_EQ(Parse("redis://h").tls, std::nullopt);
  EXPECT_EQ(Parse("unix:///s").tls, std::nullopt);
  const tls::Options strict;
  EXPECT_TRUE(strict.verify && strict.check_host);
  for (const char* text :
       {"rediss://h/3", "valkeys://h/3", "rediss://h/3?ssl_cert_reqs=required",
        "rediss://h?ssl_cert_reqs=optional&db=3", "rediss://h/3?ssl_check_hostname=True"}) {
    EXPECT_EQ(Parse(text).tls, strict) << text;
    EXPECT_EQ(Describe(Parse(text)), "rediss://h:6379/3");
  }
  EXPECT_EQ(Parse("rediss://h?ssl_ca_certs=/a%20b&ssl_certfile=c@d&ssl_keyfile=k").tls,
            (tls::Options{.ca_certs = "/a b", .certfile = "c@d", .keyfile = "k"}));
  EXPECT_EQ(Parse("rediss://h?ssl_check_hostname=false").tls, (tls::Options{.check_host = false}));
  EXPECT_FALSE(Parse("rediss://h?ssl_cert_reqs=none").tls->verify);
  EXPECT_FALSE(Parse("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=no").tls->verify);
  EXPECT_EQ(Describe(Parse("valkeys+cluster://n1,n2?ssl_cert_reqs=none")),
            "rediss+cluster://n1:6379,n2:6379");
  const RedisUrl behind = Parse("rediss+sentinel://s1/main?sentinel_password=sp&ssl_ca_certs=/a");
  EXPECT_EQ(Describe(behind), "rediss+sentinel://s1:26379/main/0");
  EXPECT_EQ(behind.tls->ca_certs, "/a");
  EXPECT_EQ(behind.sentinel_password, "sp");
}

TEST(RedisUrl, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"cache.example", "no scheme"},
      {"http://h", "unknown scheme 'http'"},
      {"rediss+unix:///run/redis.sock", "unknown scheme 'rediss+unix'"},
      {"redisses://h", "unknown scheme 'redisses'"},
      {"rediss://h?ssl=1", "unknown option 'ssl'"},
      {"redis://h?ssl_cert_reqs=none", "unknown option 'ssl_cert_reqs'"},
      {"rediss://h?ssl_cert_reqs=CERT_NONE", "(allowed: required, optional, none)"},
      {"rediss://h?ssl_cert_reqs=", "ssl_cert_reqs ''"},
      {"rediss://h?ssl_check_hostname=maybe", "'maybe' (allowed: true, false)"},
      {"rediss://h?ssl_cert_reqs=none&ssl_check_hostname=true", "which checks nothing"},
      {"rediss://h?ssl_keyfile=/k", "ssl_keyfile without ssl_certfile"},
      {"rediss://h?ssl_ca_certs=", "ssl_ca_certs without a path"},
      {"rediss://h?ssl_ca_certs=%zz", "bad percent-encoding in 'ssl_ca_certs'"},
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
