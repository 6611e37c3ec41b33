#include "backplane/listen_link.h"

#include <utility>

namespace smartcache {
namespace {

constexpr std::string_view kPing = "*1\r\n$4\r\nPING\r\n";

}  // namespace

Status ListenLink::Subscribe(std::span<const std::string> channels, Instant now, Instant deadline) {
  channels_ = channels.size();
  redis::Batch batch;
  // One by one: sharded channels of different slots cannot be named together.
  for (const std::string& channel : channels) {
    batch.Add(0, {sharded_ ? "SSUBSCRIBE" : "SUBSCRIBE", channel});
  }
  if (Status status = connection_->Send(batch.bytes(), deadline); !status.ok()) return status;
  return Send(Beat::kCheckAndFence, 0, now, deadline);
}

Status ListenLink::Send(Beat beat, Fences::Number number, Instant now, Instant deadline) {
  std::string commands;
  if (beat == Beat::kCheckAndFence) {
    commands = connection_->check_commands();
    owed_.push_back({Owed::Kind::kProbe, 0, now});
    owed_.push_back({Owed::Kind::kReplication, 0, now});
  }
  commands += kPing;
  owed_.push_back({Owed::Kind::kFence, number, now});
  return connection_->Send(commands, deadline);
}

Status ListenLink::Read(const OnMessage& on_message) {
  if (Status status = connection_->ReadAvailable(); !status.ok()) return status;
  for (;;) {
    Result<redis::ReplyPtr> next = connection_->Next();
    if (!next.ok()) return next.status();
    redis::ReplyPtr reply = *std::move(next);
    if (reply == nullptr) return Ok();
    const Status status = reply->type == VALKEY_REPLY_PUSH ? TakePush(*reply, on_message)
                                                           : TakeReply(std::move(reply));
    if (!status.ok()) return status;
  }
}

Status ListenLink::TakeReply(redis::ReplyPtr reply) {
  if (owed_.empty()) return Unavailable("a reply to nothing: " + std::string(redis::Text(*reply)));
  const Owed owed = owed_.front();
  owed_.pop_front();
  switch (owed.kind) {
    case Owed::Kind::kProbe:
      probe_ = std::move(reply);
      return Ok();
    case Owed::Kind::kReplication:
      return connection_->Verify(*probe_, *reply);
    case Owed::Kind::kFence:
      if (redis::Text(*reply) != "PONG") return Unavailable(std::string(redis::Text(*reply)));
      answered_ = owed.number;
      answered_any_ = true;
      return Ok();
  }
  return Ok();
}

Status ListenLink::TakePush(const valkeyReply& push, const OnMessage& on_message) {
  if (push.elements < 3) return Ok();
  const std::string_view kind = redis::Text(*push.element[0]);
  if (kind == (sharded_ ? "smessage" : "message")) {
    on_message(redis::Text(*push.element[2]));
  } else if (kind == (sharded_ ? "ssubscribe" : "subscribe")) {
    ++confirmed_;
  } else if (kind.ends_with("unsubscribe")) {
    return Unavailable("the server has ended a subscription");
  }
  return Ok();
}

}  // namespace smartcache
