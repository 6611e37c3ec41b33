#include "l2/redis/redis_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "l2/redis/grouped.h"
#include "l2/redis/message.h"
#include "l2/redis/scan.h"
#include "l2/redis/scripts.h"
#include "l2/redis/values.h"

namespace smartcache::redis {

RedisStore::RedisStore(Config config, std::shared_ptr<Servers> servers,
                       std::shared_ptr<Peers> peers, const Clock& clock)
    : config_(std::move(config)),
      keys_(config_.prefix),
      servers_(std::move(servers)),
      peers_(std::move(peers)),
      clock_(clock) {}

void RedisStore::AddChannel(Batch& batch, unsigned bucket) const {
  if (config_.sharded_channels) {
    batch.Arg("SPUBLISH");
    batch.Arg(ShardedChannel(config_.channel, bucket));
  } else {
    batch.Arg("PUBLISH");
    batch.Arg(config_.channel);
  }
}

void RedisStore::AddAnnouncement(Batch& batch, unsigned bucket, std::span<const Tag> tags) const {
  AddChannel(batch, bucket);
  batch.Arg(EncodeMessage(MessageKind::kBump, peers_->origin(), tags));
}

Result<GetReply> RedisStore::Get(std::string_view key, std::span<const Tag> tags) {
  const Tag key_tag = KeyTag(key);
  const unsigned bucket = BucketOf(key_tag);
  const Grouped parts(*servers_, tags.size(), [&](std::size_t i) { return tags[i]; });
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  // Two commands are not one moment: the time may be that of what was replaced in between. Where it
  // matters the reader knows: a computed entry lives no longer than its header says, and what the
  // user stores or touches drops the key's slot, which keeps the pair out of L1.
  batch.Start(bucket, 2);
  batch.Arg("PTTL");
  keys_.Entry(batch, key_tag, key);
  // What is longer than any entry of ours is not ours, and must not take the time of a call.
  batch.Start(bucket, 4);
  batch.Arg("GETRANGE");
  keys_.Entry(batch, key_tag, key);
  batch.Arg("0");
  batch.Number(static_cast<std::int64_t>(config_.max_entry_bytes));
  AddTokenReads(batch, keys_, tags, parts, config_.token_ttls);
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  GetReply reply;
  SetHead(reply, batch);
  reply.entry = ReadEntry(batch.reply(0), batch.reply(1));
  reply.tokens.resize(tags.size());
  if (Status status = ReadTokens(batch, 2, parts, config_.token_ttls, reply.tokens); !status.ok()) {
    return status;
  }
  return reply;
}

Result<std::vector<GetReply>> RedisStore::GetMany(std::span<const std::string> keys) {
  std::vector<Tag> tags(keys.size());
  std::transform(keys.begin(), keys.end(), tags.begin(),
                 [](const std::string& key) { return KeyTag(key); });
  const Grouped parts(*servers_, keys.size(), [&](std::size_t i) { return tags[i]; });
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const unsigned bucket = BucketOf(tags[positions[0]]);
    for (std::uint32_t i : positions) {
      batch.Start(bucket, 2);
      batch.Arg("PTTL");
      keys_.Entry(batch, tags[i], keys[i]);
    }
    batch.Start(bucket, 1 + positions.size());
    batch.Arg("MGET");
    for (std::uint32_t i : positions) keys_.Entry(batch, tags[i], keys[i]);
  }
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  std::vector<GetReply> replies(keys.size());
  std::size_t at = 0;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const valkeyReply& values = batch.reply(at + positions.size());
    if (values.type != VALKEY_REPLY_ARRAY || values.elements != positions.size()) {
      return Unexpected(values);
    }
    for (std::size_t n = 0; n < positions.size(); ++n) {
      GetReply& reply = replies[positions[n]];
      SetHead(reply, batch);
      reply.entry = ReadEntry(batch.reply(at + n), *values.element[n]);
    }
    at += positions.size() + 1;
  }
  return replies;
}

Result<PutReply> RedisStore::Put(std::string_view key, std::string_view envelope, Duration ttl,
                                 PutCondition condition) {
  const Tag tag = KeyTag(key);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  batch.StartScript(BucketOf(tag), scripts::kPut, 2, 6);
  keys_.Token(batch, tag);
  keys_.Entry(batch, tag, key);
  AddAnnouncement(batch, BucketOf(tag), {&tag, 1});
  batch.Arg(envelope);
  AddTtl(batch, ttl);
  batch.Arg(condition == PutCondition::kAlways     ? ""
            : condition == PutCondition::kIfAbsent ? "NX"
                                                   : "XX");
  const Retry retry = condition == PutCondition::kIfAbsent ? Retry::kNever : Retry::kIfClosed;
  if (Status status = servers_->Run(batch, retry); !status.ok()) return status;
  if (IsError(batch.reply(0), "OOM") && condition == PutCondition::kAlways) {
    // The server is full. The value that was to be replaced must not be read on.
    Status full = Unexpected(batch.reply(0));
    std::size_t count = 0;
    if (Status status = DeleteKeys(BorrowedBatch(), {&key, 1}, count); !status.ok()) return status;
    return full;
  }
  Result<bool> stored = ReadBool(batch.reply(0));
  if (!stored.ok()) return stored.status();
  PutReply reply;
  SetHead(reply, batch);
  reply.stored = *stored;
  return reply;
}

Result<std::size_t> RedisStore::Delete(std::span<const std::string> keys) {
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  std::size_t count = 0;
  if (Status status = DeleteKeys(BorrowedBatch(), views, count); !status.ok()) return status;
  return count;
}

Status RedisStore::DeleteKeys(Batch& batch, std::span<const std::string_view> keys,
                              std::size_t& count) {
  if (keys.empty()) return Ok();
  std::vector<Tag> tags(keys.size());
  std::transform(keys.begin(), keys.end(), tags.begin(), KeyTag);
  const Grouped parts(*servers_, keys.size(), [&](std::size_t i) { return tags[i]; });
  std::vector<Tag> part_tags;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    part_tags.clear();
    for (std::uint32_t i : positions) part_tags.push_back(tags[i]);
    batch.StartScript(BucketOf(part_tags[0]), scripts::kDelete, 2 * positions.size(), 3);
    for (std::uint32_t i : positions) keys_.Entry(batch, tags[i], keys[i]);
    for (Tag tag : part_tags) keys_.Token(batch, tag);
    AddAnnouncement(batch, BucketOf(part_tags[0]), part_tags);
  }
  // Not repeated: the count would be that of the second time.
  if (Status status = servers_->Run(batch, Retry::kNever); !status.ok()) return status;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const valkeyReply& reply = batch.reply(part);
    if (reply.type != VALKEY_REPLY_INTEGER) return Unexpected(reply);
    count += static_cast<std::size_t>(reply.integer);
  }
  return Ok();
}

Result<bool> RedisStore::Touch(std::string_view key, Duration ttl) {
  const Tag tag = KeyTag(key);
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  batch.StartScript(BucketOf(tag), scripts::kTouch, 2, 4);
  keys_.Token(batch, tag);
  keys_.Entry(batch, tag, key);
  AddAnnouncement(batch, BucketOf(tag), {&tag, 1});
  AddTtl(batch, ttl);
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  return ReadBool(batch.reply(0));
}

Status RedisStore::Clear() {
  const std::string pattern = keys_.ClearPattern();
  Status status = servers_->ForEachPrimary([&](Connection& connection) {
    return DeleteMatching(connection, pattern, config_.timeout, clock_);
  });
  if (!status.ok()) return status;
  const Tag key_space = peers_->key_space();
  const std::string message = EncodeMessage(MessageKind::kClear, peers_->origin(), {&key_space, 1});
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  // One channel is enough: every listener hears all of them.
  batch.Start(0, 3);
  AddChannel(batch, 0);
  batch.Arg(message);
  status = servers_->Run(batch, Retry::kIfClosed);
  if (status.ok() && batch.reply(0).type != VALKEY_REPLY_INTEGER) return Unexpected(batch.reply(0));
  return status;
}

void RedisStore::AfterFork() {
  peers_->AfterFork();
  servers_->AfterFork();
}

}  // namespace smartcache::redis
