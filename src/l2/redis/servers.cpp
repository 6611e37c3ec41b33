#include "l2/redis/servers.h"

#include <string>
#include <utility>

#include "base/hash.h"

namespace smartcache::redis {

Status RunOn(Connection& connection, Batch& batch, Instant deadline) {
  batch.replies.clear();
  if (Status status = connection.Exchange(batch, deadline); !status.ok()) return status;
  return ResendUnknownScripts(connection, batch, deadline);
}

Status ResendUnknownScripts(Connection& connection, Batch& batch, Instant deadline) {
  Batch again;
  std::vector<std::size_t> unknown;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch.command(i).script == nullptr || !IsError(batch.reply(i), "NOSCRIPT")) continue;
    again.AddWithSource(batch, i);
    unknown.push_back(i);
  }
  if (unknown.empty()) return Ok();
  if (Status status = connection.Exchange(again, deadline); !status.ok()) return status;
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    batch.replies[unknown[i]] = std::move(again.replies[i]);
  }
  return Ok();
}

std::uint64_t CombineEpochs(std::span<const std::uint64_t> epochs) {
  if (epochs.size() == 1) return epochs.front();
  std::string text;
  for (std::uint64_t epoch : epochs) text += std::to_string(epoch) + ",";
  return Hash64(text);
}

}  // namespace smartcache::redis
