#include "l2/redis/sentinel.h"

#include <charconv>
#include <utility>

namespace smartcache::redis {

Sentinels::Sentinels(std::vector<Endpoint> endpoints, std::string service, Login login,
                     const Clock& clock)
    : endpoints_(std::move(endpoints)),
      service_(std::move(service)),
      login_(std::move(login)),
      clock_(clock) {}

Result<Endpoint> Sentinels::FindPrimary(Instant deadline) {
  const std::size_t first = preferred_.load(std::memory_order_relaxed);
  Status status;
  for (std::size_t i = 0; i < endpoints_.size(); ++i) {
    const Instant now = clock_.Now();
    if (now >= deadline) return Unavailable("the sentinels did not answer in time");
    // The last to be asked has half of the time left, so that the primary can still be connected
    // to.
    const auto parts = static_cast<std::int64_t>(endpoints_.size() - i + 1);
    const std::size_t index = (first + i) % endpoints_.size();
    Result<Endpoint> found = Ask(endpoints_[index], now + (deadline - now) / parts);
    if (found.ok()) {
      preferred_.store(index, std::memory_order_relaxed);
      return found;
    }
    status = found.status();
  }
  return status;
}

Result<Endpoint> Sentinels::Ask(const Endpoint& sentinel, Instant deadline) const {
  SocketList sockets;
  auto connection = Connection::Open(sentinel, login_, clock_, sockets, deadline);
  if (!connection.ok()) return connection.status();
  Batch batch;
  batch.Add(0, {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", service_});
  if (Status status = (*connection)->Exchange(batch, deadline); !status.ok()) return status;
  const valkeyReply& reply = batch.reply(0);
  if (reply.type != VALKEY_REPLY_ARRAY || reply.elements != 2) {
    return Unavailable(ToString(sentinel) + ": the sentinel knows no service '" + service_ + "'");
  }
  Endpoint endpoint{.host = std::string(Text(*reply.element[0])), .port = 0, .path = {}};
  const std::string_view port = Text(*reply.element[1]);
  std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  return endpoint;
}

}  // namespace smartcache::redis
