// One connection of the listener: subscribed, and with a queue of the replies it still owes.
// Listener thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "backplane/fences.h"
#include "l2/redis/connection.h"

namespace smartcache {

class ListenLink {
 public:
  using OnMessage = std::function<void(std::string_view)>;

  ListenLink(std::unique_ptr<redis::Connection> connection, bool sharded_channels)
      : connection_(std::move(connection)), sharded_(sharded_channels) {}

  // Sends the subscription to `channels` and a first fence behind it. It holds when that is
  // answered.
  [[nodiscard]] Status Subscribe(std::span<const std::string> channels, Instant now,
                                 Instant deadline);
  // Sends a fence, with a check of the server's state before it where wanted.
  enum class Beat : std::uint8_t { kFence, kCheckAndFence };
  [[nodiscard]] Status Send(Beat beat, Fences::Number number, Instant now, Instant deadline);
  // Reads what has arrived: messages go to `on_message`, in order. Fails when the connection is
  // lost, the server is not the primary it was, or it has ended a subscription.
  [[nodiscard]] Status Read(const OnMessage& on_message);

  [[nodiscard]] bool subscribed() const { return confirmed_ == channels_ && answered_any_; }
  [[nodiscard]] Fences::Number answered() const { return answered_; }
  // When the oldest request without a reply was sent; kNever: all are answered.
  [[nodiscard]] Instant waiting_since() const {
    return owed_.empty() ? kNever : owed_.front().sent;
  }
  [[nodiscard]] int fd() const { return connection_->fd(); }
  [[nodiscard]] std::uint64_t epoch() const { return connection_->epoch(); }

 private:
  struct Owed {
    enum class Kind : std::uint8_t { kProbe, kReplication, kFence } kind;
    Fences::Number number;
    Instant sent;
  };
  [[nodiscard]] Status TakeReply(redis::ReplyPtr reply);
  [[nodiscard]] Status TakePush(const valkeyReply& push, const OnMessage& on_message);

  std::unique_ptr<redis::Connection> connection_;
  const bool sharded_;
  std::deque<Owed> owed_;
  redis::ReplyPtr probe_;  // waits for the replication reply, to be judged with it
  std::size_t channels_ = 0, confirmed_ = 0;
  bool answered_any_ = false;
  Fences::Number answered_ = 0;
};

}  // namespace smartcache
