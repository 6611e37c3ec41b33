// Who runs a batch: one server, or the primaries of a cluster. Thread-safe.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "l2/redis/batch.h"
#include "l2/redis/connection.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"

namespace smartcache::redis {

// Whether commands may be sent again when a connection was found closed by the server, which has
// most likely, but not certainly, not run them.
enum class Retry : std::uint8_t { kNever, kIfClosed };

class Servers {
 public:
  virtual ~Servers() = default;
  // Keys of one group may be named in one command. Some bucket of the group stands for it.
  [[nodiscard]] virtual unsigned GroupOf(unsigned bucket) const = 0;
  // Sends the commands and fills in replies, sent and epoch. Takes at most the timeout, connecting
  // included. Replies may be errors that concern their command alone.
  [[nodiscard]] virtual Status Run(Batch& batch, Retry retry) = 0;
  // Calls `visit` with a connection to each primary, one after another, until it fails.
  using Visitor = std::function<Status(Connection&)>;
  [[nodiscard]] virtual Status ForEachPrimary(const Visitor& visit) = 0;
  [[nodiscard]] virtual bool Available() const = 0;
  // The listener is connected to servers in state `epoch`: connections made before are used no
  // more, and none to another state, so that what is fetched and what is heard are of one state. 0:
  // no listener.
  virtual void Expect(std::uint64_t epoch) = 0;
  // In a forked child: forgets the parent's connections.
  virtual void AfterFork() = 0;
};

// Runs `batch` on `connection`; scripts that the server does not know are sent with their source.
[[nodiscard]] Status RunOn(Connection& connection, Batch& batch, Instant deadline);
// The second part of it, for a batch that has its replies.
[[nodiscard]] Status ResendUnknownScripts(Connection& connection, Batch& batch, Instant deadline);

// The epoch of several primaries together. Their order counts.
[[nodiscard]] std::uint64_t CombineEpochs(std::span<const std::uint64_t> epochs);

}  // namespace smartcache::redis
