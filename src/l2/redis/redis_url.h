// Where a server is and how to log in: the URL forms of SMARTCACHE_REDIS_URL. Pure text, no I/O.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "smartcache/result.h"
#include "smartcache/tls.h"

namespace smartcache::redis {

// A TCP address, or the path of a unix socket when it is not empty.
struct Endpoint {
  std::string host;
  int port = 6379;
  std::string path;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// "127.0.0.1:6379", "[::1]:6379" or the path.
[[nodiscard]] std::string ToString(const Endpoint& endpoint);

enum class Topology { kSingle, kSentinel, kCluster };

struct RedisUrl {
  Topology topology = Topology::kSingle;
  std::vector<Endpoint> endpoints;  // one; or the sentinels; or some nodes of the cluster
  std::string user;                 // empty: the default user
  std::string password;             // empty: no AUTH
  int database = 0;
  std::string service;  // of sentinel
  std::string sentinel_user, sentinel_password;
  std::optional<tls::Options> tls;  // to the sentinels and to the servers
};

// kInvalidArgument names what is wrong and what is allowed; it never repeats a password.
[[nodiscard]] Result<RedisUrl> ParseRedisUrl(std::string_view url);

// The URL without credentials, in one form whatever scheme was written.
[[nodiscard]] std::string Describe(const RedisUrl& url);

}  // namespace smartcache::redis
