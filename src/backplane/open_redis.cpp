// OpenRedis of cache.h: the store and the backplane, as a URL says.
#include <utility>

#include "backplane/redis_backplane.h"
#include "base/hash.h"
#include "l2/redis/cluster_servers.h"
#include "l2/redis/keys.h"
#include "l2/redis/redis_store.h"
#include "l2/redis/redis_url.h"
#include "l2/redis/sentinel.h"
#include "l2/redis/single_server.h"
#include "smartcache/cache.h"
#include "smartcache/tls.h"

namespace smartcache {
namespace {

// How the primary is found.
redis::Locate LocateOf(const redis::RedisUrl& url, const redis::Login& login, const Clock& clock) {
  if (url.topology != redis::Topology::kSentinel) {
    return
        [endpoint = url.endpoints.front()](Instant) -> Result<redis::Endpoint> { return endpoint; };
  }
  redis::Login asking = login;
  asking.role = redis::Role::kAny;
  asking.user = url.sentinel_user;
  asking.password = url.sentinel_password;
  auto sentinels = std::make_shared<redis::Sentinels>(url.endpoints, url.service, asking, clock);
  return [sentinels](Instant deadline) { return sentinels->FindPrimary(deadline); };
}

// What differs between one server and a cluster.
struct Topology {
  std::shared_ptr<redis::Servers> servers;
  RedisBackplane::FindTargets find_targets;
};

Topology OfOneServer(const redis::RedisUrl& url, const redis::Login& login,
                     const std::string& channel, const Clock& clock) {
  const redis::Locate locate = LocateOf(url, login, clock);
  const auto find_targets = [=,
                             probe = login.probe_key](Instant deadline) -> RedisBackplane::Targets {
    Result<redis::Endpoint> found = locate(deadline);
    if (!found.ok()) return found.status();
    return std::vector<RedisBackplane::Target>{{*std::move(found), probe, {channel}}};
  };
  return {std::make_shared<redis::SingleServer>(locate, login, clock), find_targets};
}

Topology OfCluster(const redis::RedisUrl& url, const redis::Login& login, const redis::Keys& keys,
                   const std::string& channel, const Clock& clock) {
  auto servers = std::make_shared<redis::ClusterServers>(url.endpoints, login, keys, clock);
  const auto find_targets = [=](Instant deadline) -> RedisBackplane::Targets {
    const auto primaries = servers->FindPrimaries(deadline);
    if (!primaries.ok()) return primaries.status();
    std::vector<RedisBackplane::Target> targets;
    for (const auto& primary : *primaries) {
      targets.push_back({primary.endpoint, primary.probe_key, {}});
      for (unsigned bucket : primary.buckets) {
        targets.back().channels.push_back(redis::ShardedChannel(channel, bucket));
      }
    }
    return targets;
  };
  return {servers, find_targets};
}

// Null: without TLS.
Result<std::shared_ptr<tls::Context>> TlsOf(const redis::RedisUrl& url) {
  if (!url.tls) return std::shared_ptr<tls::Context>();
  const tls::MakeContext make = tls::Registered();
  if (make != nullptr) return make(*url.tls);
  return Status(Code::kInvalidArgument,
                "Redis URL: " + redis::Describe(url) +
                    " needs the TLS module, which is not loaded; allowed without it: redis://, "
                    "redis+sentinel://, redis+cluster://, unix://, and the same with valkey");
}

}  // namespace

Status CheckRedisTls(std::string_view text) {
  const Result<redis::RedisUrl> url = redis::ParseRedisUrl(text);
  if (!url.ok()) return url.status();
  const auto context = TlsOf(*url);
  if (!context.ok() || *context == nullptr) return context.status();
  const auto session = (*context)->Start(url->endpoints.front().host);
  if (session.ok()) return Ok();
  return {Code::kInvalidArgument, "SMARTCACHE_REDIS_URL: " + session.status().message()};
}

Result<RedisParts> OpenRedis(std::string_view text, const Options& options, const Clock& clock) {
  Result<redis::RedisUrl> parsed = redis::ParseRedisUrl(text);
  if (!parsed.ok()) return parsed.status();
  const redis::RedisUrl& url = *parsed;
  if (options.prefix.find_first_of("{}") != std::string::npos) {
    return Status(Code::kInvalidArgument,
                  "SMARTCACHE_KEY_PREFIX '" + options.prefix +
                      "' has braces, which Redis Cluster gives a meaning; allowed: text without");
  }
  Result<std::shared_ptr<tls::Context>> context = TlsOf(url);
  if (!context.ok()) return context.status();
  const redis::Keys keys(options.prefix);
  redis::Login login;
  login.tls = *std::move(context);
  login.user = url.user;
  login.password = url.password;
  login.database = url.database;
  login.timeout = options.redis_timeout;
  login.check_interval = options.trust_bound / 4;
  login.probe_key = keys.Probe(0);
  auto peers =
      std::make_shared<redis::Peers>(Hash64(options.prefix + "\n" + std::to_string(url.database)));
  const bool cluster = url.topology == redis::Topology::kCluster;
  const Topology topology = cluster ? OfCluster(url, login, keys, options.channel, clock)
                                    : OfOneServer(url, login, options.channel, clock);
  // A vector of tags may take as much again as the payload, hardly more.
  constexpr std::size_t kMostOfHeader = 64 << 10;
  RedisParts parts;
  parts.store = std::make_unique<redis::RedisStore>(
      redis::RedisStore::Config{.prefix = options.prefix,
                                .channel = options.channel,
                                .sharded_channels = cluster,
                                .token_ttl = options.token_ttl,
                                .timeout = options.redis_timeout,
                                .token_ttls = options.start_listener && options.local_max_bytes > 0,
                                .max_entry_bytes = 2 * options.max_payload_bytes + kMostOfHeader,
                                .description = redis::Describe(url)},
      topology.servers, peers, clock);
  if (!options.start_listener) return parts;
  parts.backplane =
      std::make_unique<RedisBackplane>(RedisBackplane::Config{.login = login,
                                                              .find_targets = topology.find_targets,
                                                              .sharded_channels = cluster,
                                                              .trust_bound = options.trust_bound},
                                       topology.servers, peers, clock);
  return parts;
}

}  // namespace smartcache
