// Servers when there is one primary: at a fixed address, or wherever the locator finds it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "l2/redis/breaker.h"
#include "l2/redis/pool.h"
#include "l2/redis/servers.h"

namespace smartcache::redis {

// Finds the primary. Called for each new connection, so that a new primary is found by
// reconnecting.
using Locate = std::function<Result<Endpoint>(Instant deadline)>;

class SingleServer final : public Servers {
 public:
  SingleServer(Locate locate, Login login, const Clock& clock);
  ~SingleServer() override;

  [[nodiscard]] unsigned GroupOf(unsigned) const override { return 0; }
  [[nodiscard]] Status Run(Batch& batch, Retry retry) override;
  [[nodiscard]] Status ForEachPrimary(const Visitor& visit) override;
  [[nodiscard]] bool Available() const override;
  void Expect(std::uint64_t epoch) override;
  void AfterFork() override;

 private:
  // All that a fork spoils. A child leaves its parent's behind as it is, locked mutexes included.
  struct State {
    explicit State(Duration timeout) : breaker(timeout) {}
    SocketList sockets;  // outlives the pool's connections
    Pool pool;
    Breaker breaker;
    std::atomic<std::uint64_t> expected_epoch{0};
    std::unique_ptr<State> left_behind;
  };

  [[nodiscard]] Result<std::unique_ptr<Connection>> Open(Instant deadline);
  [[nodiscard]] Status TryRun(const std::function<Status(Connection&, Instant)>& use, Retry retry);

  const Locate locate_;
  const Login login_;
  const Clock& clock_;
  std::unique_ptr<State> state_;
};

}  // namespace smartcache::redis
