#include "l2/redis/single_server.h"

#include <utility>

#include "base/random.h"

namespace smartcache::redis {

SingleServer::SingleServer(Locate locate, Login login, const Clock& clock)
    : locate_(std::move(locate)),
      login_(std::move(login)),
      clock_(clock),
      state_(std::make_unique<State>(login_.timeout)) {}

SingleServer::~SingleServer() {
  // What a fork left behind is never destroyed: its mutexes may be locked, its sockets are closed.
  (void)state_->left_behind.release();
}

Status SingleServer::Run(Batch& batch, Retry retry) {
  return TryRun([&](Connection& c, Instant deadline) { return RunOn(c, batch, deadline); }, retry);
}

Status SingleServer::ForEachPrimary(const Visitor& visit) {
  return TryRun([&](Connection& c, Instant) { return visit(c); }, Retry::kNever);
}

Result<std::unique_ptr<Connection>> SingleServer::Open(Instant deadline) {
  // Before anything is asked: should the pool be renewed meanwhile, the connection is not kept.
  const std::uint64_t generation = state_->pool.generation();
  Result<Endpoint> endpoint = locate_(deadline);
  if (!endpoint.ok()) return endpoint.status();
  auto opened = Connection::Open(*endpoint, login_, clock_, state_->sockets, deadline);
  if (!opened.ok()) return opened.status();
  const std::uint64_t expected = state_->expected_epoch.load(std::memory_order_acquire);
  if (expected != 0 && (*opened)->epoch() != expected) {
    return Unavailable("the server is not the one that is listened to");
  }
  (*opened)->generation = generation;
  return opened;
}

Status SingleServer::TryRun(const std::function<Status(Connection&, Instant)>& use, Retry retry) {
  const Instant start = clock_.Now();
  const Instant deadline = After(start, login_.timeout);
  const Breaker::Permit permit = state_->breaker.Ask(start);
  if (permit == Breaker::Permit::kRefused) {
    return state_->breaker.Refusal("the server");
  }
  Status status;
  for (bool fresh : {false, true}) {
    std::unique_ptr<Connection> connection = fresh ? nullptr : state_->pool.TakeIdle(start, retry);
    const bool was_idle = connection != nullptr;
    if (!was_idle) {
      auto opened = Open(deadline);
      if (!opened.ok()) {
        status = opened.status();
        break;
      }
      connection = *std::move(opened);
    }
    status = use(*connection, deadline);
    if (status.ok()) {
      state_->pool.Put(std::move(connection));
      state_->breaker.Succeeded();
      return status;
    }
    // One connection that the server has closed says the same of those idle for longer.
    state_->pool.Renew();
    if (!was_idle || retry == Retry::kNever || !connection->closed_by_server()) break;
  }
  state_->breaker.Failed(permit, clock_.Now(), RandomU64(), status.message());
  return status;
}

bool SingleServer::Available() const { return state_->breaker.WouldPermit(clock_.Now()); }

void SingleServer::Expect(std::uint64_t epoch) {
  state_->expected_epoch.store(epoch, std::memory_order_release);
  state_->pool.Renew();
}

void SingleServer::AfterFork() {
  state_->sockets.CloseAll();
  auto fresh = std::make_unique<State>(login_.timeout);
  fresh->left_behind = std::move(state_);
  state_ = std::move(fresh);
}

}  // namespace smartcache::redis
