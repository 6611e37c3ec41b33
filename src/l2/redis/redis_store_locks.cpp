#include "l2/redis/redis_store.h"

#include <algorithm>
#include <string>

#include "base/random.h"
#include "l2/redis/message.h"
#include "l2/redis/scripts.h"
#include "l2/redis/values.h"

namespace smartcache::redis {
namespace {

using std::chrono::milliseconds;

}  // namespace

Result<BeginReply> RedisStore::Begin(std::string_view key, std::uint64_t lock_owner,
                                     Duration lease) {
  const Tag tag = KeyTag(key);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  batch.StartScript(BucketOf(tag), scripts::kBegin, 4, 4);
  keys_.Token(batch, tag);
  keys_.Entry(batch, tag, key);
  keys_.Lock(batch, tag, key);
  keys_.Marks(batch, tag);
  batch.Arg(Number(RandomU64()));
  batch.Number(Millis(config_.token_ttl));
  batch.Arg(Number(lock_owner));
  batch.Number(Millis(lease));
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  const valkeyReply& values = batch.reply(0);
  if (values.type != VALKEY_REPLY_ARRAY || values.elements != 5) return Unexpected(values);
  BeginReply reply;
  SetHead(reply, batch);
  reply.key_token = {ReadToken(*values.element[0]), ReadTtl(*values.element[1])};
  if (reply.key_token.token == kNoToken) return Unexpected(*values.element[0]);
  reply.locked = values.element[2]->integer != 0;
  reply.entry = ReadEntry(*values.element[4], *values.element[3]);
  return reply;
}

Result<bool> RedisStore::Fill(const FillRequest& request) {
  const Tag tag = KeyTag(request.key);
  const Decimal owner = Number(request.lock_owner);
  const bool store = !request.envelope.empty() && request.ttl > Duration(0);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  if (store) {
    batch.StartScript(BucketOf(tag), scripts::kFill, 3, 7);
    keys_.Token(batch, tag);
    keys_.Entry(batch, tag, request.key);
    keys_.Lock(batch, tag, request.key);
    batch.Arg(Number(request.key_token));
    batch.Arg(request.envelope);
    // Without an end of its own it ends with the token, which lives that long at most.
    batch.Number(Millis(std::min(request.ttl, 2 * config_.token_ttl)));
    batch.Arg(owner);
    AddChannel(batch, BucketOf(tag));
    batch.Arg(EncodeMessage(MessageKind::kUnlock, peers_->origin(), {&tag, 1}));
  } else if (request.lock_owner != 0) {
    AddUnlock(batch, tag, request.key, owner);
  } else {
    return true;
  }
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  const valkeyReply& reply = batch.reply(0);
  if (store && IsError(reply, "OOM") && request.lock_owner != 0) {
    // The server is full and has not run the script: do the part that needs no memory.
    Status full = Unexpected(reply);
    Batch& unlock = borrowed;
    unlock.Clear();
    AddUnlock(unlock, tag, request.key, owner);
    if (Status status = servers_->Run(unlock, Retry::kIfClosed); !status.ok()) return status;
    return full;
  }
  if (!store && reply.type == VALKEY_REPLY_INTEGER) return true;
  return ReadBool(reply);
}

void RedisStore::AddUnlock(Batch& batch, Tag tag, std::string_view key,
                           std::string_view owner) const {
  batch.StartScript(BucketOf(tag), scripts::kUnlock, 1, 4);
  keys_.Lock(batch, tag, key);
  batch.Arg(owner);
  AddChannel(batch, BucketOf(tag));
  batch.Arg(EncodeMessage(MessageKind::kUnlock, peers_->origin(), {&tag, 1}));
}

Result<bool> RedisStore::RenewLock(std::string_view key, std::uint64_t lock_owner, Duration lease) {
  const Tag tag = KeyTag(key);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  batch.StartScript(BucketOf(tag), scripts::kRenew, 1, 2);
  keys_.Lock(batch, tag, key);
  batch.Arg(Number(lock_owner));
  batch.Number(Millis(lease));
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  return ReadBool(batch.reply(0));
}

Result<bool> RedisStore::AwaitUnlock(std::string_view key, Duration timeout) {
  // Without a listener: the first look soon, for short computations, then less and less often.
  constexpr Duration kFirstPoll = milliseconds(5), kLastPoll = milliseconds(100);
  // A lock without end is none of ours: whoever removes it will not tell.
  constexpr Duration kUntold = std::chrono::seconds(1);
  const Tag tag = KeyTag(key);
  const Instant end = After(clock_.Now(), timeout);
  Board::Place place(peers_->board(), tag);
  for (Duration poll = kFirstPoll;; poll = std::min(poll * 3 / 2, kLastPoll)) {
    const bool listening = place.Listening();
    const BorrowedBatch borrowed;
    Batch& batch = borrowed;
    batch.StartScript(BucketOf(tag), scripts::kAwait, 1, 1);
    keys_.Lock(batch, tag, key);
    batch.Arg(listening ? "1" : "0");
    if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
    const valkeyReply& reply = batch.reply(0);
    if (reply.type != VALKEY_REPLY_INTEGER) return Unexpected(reply);
    if (reply.integer == kNoKey) return true;
    const Instant now = clock_.Now();
    if (now >= end) return false;
    // A holder that dies tells nobody. One more millisecond: its lease is rounded down.
    const Duration left = ReadTtl(reply);
    const Duration lease = left == kNever ? kUntold : left + milliseconds(1);
    const Duration sleep = std::min({lease, end - now, listening ? lease : poll});
    if (place.Wait(sleep)) return true;
  }
}

Result<bool> RedisStore::TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) {
  const Tag tag = KeyTag(name);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  batch.Start(BucketOf(tag), 6);
  batch.Arg("SET");
  keys_.UserLock(batch, tag, name);
  batch.Arg(Number(owner));
  batch.Arg("NX");
  batch.Arg("PX");
  batch.Number(Millis(lease));
  if (Status status = servers_->Run(batch, Retry::kNever); !status.ok()) return status;
  const valkeyReply& reply = batch.reply(0);
  if (reply.type == VALKEY_REPLY_NIL) return false;
  if (reply.type != VALKEY_REPLY_STATUS) return Unexpected(reply);
  return true;
}

Result<bool> RedisStore::UserUnlock(std::string_view name, std::uint64_t owner) {
  const Tag tag = KeyTag(name);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  batch.StartScript(BucketOf(tag), scripts::kUserUnlock, 1, 1);
  keys_.UserLock(batch, tag, name);
  batch.Arg(Number(owner));
  if (Status status = servers_->Run(batch, Retry::kNever); !status.ok()) return status;
  return ReadBool(batch.reply(0));
}

}  // namespace smartcache::redis
