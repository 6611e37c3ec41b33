// The backplane on Redis Pub/Sub: one thread, and one connection of its own to each primary.
// Replies and messages share a connection's stream, so an answered PING is a fence. A heartbeat
// makes sure that each server is still the primary it was and takes writes; losing any connection
// is losing all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "l2/redis/connection.h"
#include "l2/redis/peers.h"
#include "l2/redis/servers.h"
#include "smartcache/backplane.h"

namespace smartcache {

class RedisBackplane final : public Backplane {
 public:
  // A server to listen to.
  struct Target {
    redis::Endpoint endpoint;
    std::string probe_key;
    std::vector<std::string> channels;
  };
  using Targets = Result<std::vector<Target>>;
  using FindTargets = std::function<Targets(Instant deadline)>;
  struct Config {
    redis::Login login;  // its timeout is that of connecting
    // Where to listen; asked at each connect.
    FindTargets find_targets;
    bool sharded_channels = false;
    Duration trust_bound{};  // silence for longer is a lost connection
  };
  RedisBackplane(Config config, std::shared_ptr<redis::Servers> servers,
                 std::shared_ptr<redis::Peers> peers, const Clock& clock);
  ~RedisBackplane() override;

  [[nodiscard]] bool Start(BackplaneSink& sink) override;
  void Stop() override;
  Status Fence(Duration timeout) override;
  void AfterFork() override;

 private:
  class Listener;

  const Config config_;
  const std::shared_ptr<redis::Servers> servers_;
  const std::shared_ptr<redis::Peers> peers_;
  const Clock& clock_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace smartcache
