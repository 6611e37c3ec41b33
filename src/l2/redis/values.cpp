#include "l2/redis/values.h"

#include <algorithm>
#include <string>

namespace smartcache::redis {

using std::chrono::milliseconds;

namespace {

Batch& BatchOfThisThread() {
  thread_local Batch batch;
  return batch;
}

}  // namespace

BorrowedBatch::BorrowedBatch() : batch_(BatchOfThisThread()) { batch_.Clear(); }
BorrowedBatch::~BorrowedBatch() { batch_.Clear(); }

Status Unexpected(const valkeyReply& reply) {
  if (reply.type == VALKEY_REPLY_ERROR) return Unavailable("server: " + std::string(Text(reply)));
  return Unavailable("unexpected reply from the server");
}

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

std::int64_t Millis(Duration span) {
  return std::max<std::int64_t>(1, std::chrono::duration_cast<milliseconds>(span).count());
}

void AddTtl(Batch& batch, Duration ttl) {
  if (ttl == kNever) return batch.Arg("");
  batch.Number(Millis(ttl));
}

Duration ReadTtl(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_INTEGER || reply.integer < kNoExpiry) return Duration(0);
  // Below the largest by more than a millisecond: callers may add one.
  constexpr auto kMost = std::chrono::floor<milliseconds>(kNever).count();
  if (reply.integer == kNoExpiry || reply.integer >= kMost) return kNever;
  return milliseconds(reply.integer);
}

Token ReadToken(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_STRING) return kNoToken;
  return ParseNumber(Text(reply)).value_or(kNoToken);
}

std::optional<StoredEntry> ReadEntry(const valkeyReply& ttl, const valkeyReply& value) {
  if (value.type != VALKEY_REPLY_STRING || ttl.integer == kNoKey) return std::nullopt;
  return StoredEntry{std::string(Text(value)), ReadTtl(ttl)};
}

Result<bool> ReadBool(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_INTEGER) return Unexpected(reply);
  return reply.integer != 0;
}

void SetHead(Reply& reply, const Batch& batch) {
  reply.sent = batch.sent;
  reply.epoch = batch.epoch;
}

void AddTokenReads(Batch& batch, const Keys& keys, std::span<const Tag> tags, const Grouped& parts,
                   bool ttls) {
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const unsigned bucket = BucketOf(tags[positions[0]]);
    for (std::size_t n = 0; ttls && n < positions.size(); ++n) {
      batch.Start(bucket, 2);
      batch.Arg("PTTL");
      keys.Token(batch, tags[positions[n]]);
    }
    batch.Start(bucket, 1 + positions.size());
    batch.Arg("MGET");
    for (std::uint32_t i : positions) keys.Token(batch, tags[i]);
  }
}

Status ReadTokens(const Batch& batch, std::size_t at, const Grouped& parts, bool ttls,
                  std::vector<TokenReply>& tokens) {
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const std::size_t values_at = ttls ? at + positions.size() : at;
    const valkeyReply& values = batch.reply(values_at);
    if (values.type != VALKEY_REPLY_ARRAY || values.elements != positions.size()) {
      return Unexpected(values);
    }
    for (std::size_t n = 0; n < positions.size(); ++n) {
      const Duration ttl = ttls ? ReadTtl(batch.reply(at + n)) : Duration(0);
      tokens[positions[n]] = {ReadToken(*values.element[n]), ttl};
    }
    at = values_at + 1;
  }
  return Ok();
}

}  // namespace smartcache::redis
