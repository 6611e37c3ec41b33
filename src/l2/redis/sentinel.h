// Where the primary of a service is, as Redis Sentinel says.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "l2/redis/connection.h"
#include "l2/redis/redis_url.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"

namespace smartcache::redis {

// Thread-safe. Whether the server found is a primary in fact is for the one who connects to see.
class Sentinels {
 public:
  Sentinels(std::vector<Endpoint> endpoints, std::string service, Login login, const Clock& clock);
  // Asks one sentinel after another, beginning with the one that answered last.
  [[nodiscard]] Result<Endpoint> FindPrimary(Instant deadline);

 private:
  [[nodiscard]] Result<Endpoint> Ask(const Endpoint& sentinel, Instant deadline) const;

  const std::vector<Endpoint> endpoints_;
  const std::string service_;
  const Login login_;
  const Clock& clock_;
  std::atomic<std::size_t> preferred_{0};
};

}  // namespace smartcache::redis
