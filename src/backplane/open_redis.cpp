// OpenRedis of cache.h: the store and the backplane, as a URL says.
#include <utility>

#include "backplane/redis_backplane.h"
#include "base/hash.h"
#include "l2/redis/keys.h"
#include "l2/redis/redis_store.h"
#include "l2/redis/redis_url.h"
#include "l2/redis/sentinel.h"
#include "l2/redis/single_server.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

// How the primary is found.
redis::Locate LocateOf(const redis::RedisUrl& url, const redis::Login& login, const Clock& clock) {
  if (url.topology != redis::Topology::kSentinel) {
    return
        [endpoint = url.endpoints.front()](Instant) -> Result<redis::Endpoint> { return endpoint; };
  }
  redis::Login asking = login;
  asking.role = redis::Role::kSentinel;
  asking.user = url.sentinel_user;
  asking.password = url.sentinel_password;
  auto sentinels = std::make_shared<redis::Sentinels>(url.endpoints, url.service, asking, clock);
  return [sentinels](Instant deadline) { return sentinels->FindPrimary(deadline); };
}

}  // namespace

Result<RedisParts> OpenRedis(std::string_view text, const Options& options, const Clock& clock) {
  Result<redis::RedisUrl> parsed = redis::ParseRedisUrl(text);
  if (!parsed.ok()) return parsed.status();
  const redis::RedisUrl& url = *parsed;
  if (options.prefix.find_first_of("{}") != std::string::npos) {
    return Status(Code::kInvalidArgument, "the key prefix '" + options.prefix +
                                              "' has braces, which Redis Cluster gives a meaning");
  }
  if (url.topology == redis::Topology::kCluster) {
    return Status(
        Code::kInvalidArgument,
        "Redis URL: Cluster is not supported by this version; allowed: redis://, unix://, "
        "redis+sentinel:// and the same with valkey");
  }
  const redis::Keys keys(options.prefix);
  redis::Login login;
  login.user = url.user;
  login.password = url.password;
  login.database = url.database;
  login.timeout = options.redis_timeout;
  login.check_interval = options.trust_bound / 4;
  login.probe_key = keys.Probe(0);
  const redis::Locate locate = LocateOf(url, login, clock);

  auto peers =
      std::make_shared<redis::Peers>(Hash64(options.prefix + "\n" + std::to_string(url.database)));
  auto servers = std::make_shared<redis::SingleServer>(locate, login, clock);
  RedisParts parts;
  parts.store = std::make_unique<redis::RedisStore>(
      redis::RedisStore::Config{.prefix = options.prefix,
                                .channel = options.channel,
                                .sharded_channels = false,
                                .token_ttl = options.token_ttl,
                                .timeout = options.redis_timeout,
                                .token_ttls = options.start_listener && options.local_max_bytes > 0,
                                .description = redis::Describe(url)},
      servers, peers, clock);
  if (!options.start_listener) return parts;
  RedisBackplane::Config config;
  config.login = login;
  config.trust_bound = options.trust_bound;
  config.find_targets = [locate, channel = options.channel, probe = keys.Probe(0)](
                            Instant deadline) -> Result<std::vector<RedisBackplane::Target>> {
    Result<redis::Endpoint> found = locate(deadline);
    if (!found.ok()) return found.status();
    return std::vector<RedisBackplane::Target>{{*std::move(found), probe, {channel}}};
  };
  parts.backplane = std::make_unique<RedisBackplane>(std::move(config), servers, peers, clock);
  return parts;
}

}  // namespace smartcache
