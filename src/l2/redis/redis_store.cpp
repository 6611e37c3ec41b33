#include "l2/redis/redis_store.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "base/random.h"
#include "l2/redis/grouped.h"
#include "l2/redis/message.h"
#include "l2/redis/scan.h"
#include "l2/redis/scripts.h"

namespace smartcache::redis {
namespace {

using std::chrono::milliseconds;

// Each thread's buffer for requests. Calls do not nest.
Batch& NewBatch() {
  thread_local Batch batch;
  batch.Clear();
  return batch;
}

Status Unexpected(const valkeyReply& reply) {
  if (reply.type == VALKEY_REPLY_ERROR) return Unavailable("server: " + std::string(Text(reply)));
  return Unavailable("unexpected reply from the server");
}

// A number as the text of an argument.
struct Decimal {
  explicit Decimal(std::int64_t number)
      : size(static_cast<std::size_t>(std::to_chars(text, text + sizeof text, number).ptr - text)) {
  }
  operator std::string_view() const { return {text, size}; }  // NOLINT(google-explicit-constructor)
  char text[24];
  std::size_t size;
};

// Random numbers as text: signed, so that Redis can keep them as integers.
Decimal Number(std::uint64_t value) { return Decimal(static_cast<std::int64_t>(value)); }

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

// A positive time in milliseconds. Less than one counts as one: Redis takes no zero.
std::int64_t Millis(Duration span) {
  return std::max<std::int64_t>(1, std::chrono::duration_cast<milliseconds>(span).count());
}

// The argument for a time to live: empty for none.
void AddTtl(Batch& batch, Duration ttl) {
  if (ttl == kNever) return batch.Arg("");
  batch.Number(Millis(ttl));
}

constexpr long long kNoExpiry = -1, kNoKey = -2;  // as PTTL says it

Duration ReadTtl(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_INTEGER || reply.integer == kNoKey) return Duration(0);
  if (reply.integer == kNoExpiry || reply.integer > milliseconds::max().count() / 1'000'000)
    return kNever;
  return milliseconds(reply.integer);
}

// A token that is none of ours reads as missing.
Token ReadToken(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_STRING) return kNoToken;
  return ParseNumber(Text(reply)).value_or(kNoToken);
}

// The entry out of its TTL and value. A key of another type, which is none of ours, is a miss.
std::optional<StoredEntry> ReadEntry(const valkeyReply& ttl, const valkeyReply& value) {
  if (value.type != VALKEY_REPLY_STRING || ttl.integer == kNoKey) return std::nullopt;
  return StoredEntry{std::string(Text(value)), ReadTtl(ttl)};
}

void SetHead(Reply& reply, const Batch& batch) {
  reply.sent = batch.sent;
  reply.epoch = batch.epoch;
}

Result<bool> ReadBool(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_INTEGER) return Unexpected(reply);
  return reply.integer != 0;
}

// MGET of the tokens, then PTTL of each, for each part.
void AddTokenReads(Batch& batch, const Keys& keys, std::span<const Tag> tags,
                   const Grouped& parts) {
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const unsigned bucket = BucketOf(tags[positions[0]]);
    for (std::uint32_t i : positions) {
      batch.Start(bucket, 2);
      batch.Arg("PTTL");
      keys.Token(batch, tags[i]);
    }
    batch.Start(bucket, 1 + positions.size());
    batch.Arg("MGET");
    for (std::uint32_t i : positions) keys.Token(batch, tags[i]);
  }
}

// The replies to AddTokenReads, from reply `at` on.
Status ReadTokens(const Batch& batch, std::size_t at, const Grouped& parts,
                  std::vector<TokenReply>& tokens) {
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const valkeyReply& values = batch.reply(at + positions.size());
    if (values.type != VALKEY_REPLY_ARRAY || values.elements != positions.size()) {
      return Unexpected(values);
    }
    for (std::size_t n = 0; n < positions.size(); ++n) {
      tokens[positions[n]] = {ReadToken(*values.element[n]), ReadTtl(batch.reply(at + n))};
    }
    at += positions.size() + 1;
  }
  return Ok();
}

// What a bump says of one table: whether the bulk tag was dropped, then names and values of the
// set.
Result<Schemes> ReadSchemes(const valkeyReply& reply, bool& dropped) {
  if (reply.type != VALKEY_REPLY_ARRAY || reply.elements % 2 == 0) return Unexpected(reply);
  Schemes schemes;
  dropped = reply.element[0]->type == VALKEY_REPLY_INTEGER && reply.element[0]->integer != 0;
  for (std::size_t i = 1; i < reply.elements; i += 2) {
    const std::string_view name = Text(*reply.element[i]);
    if (name == "v") {
      schemes.version = ParseNumber(Text(*reply.element[i + 1])).value_or(0);
    } else if (name.starts_with('c')) {
      schemes.columns.emplace_back(name.substr(1));
    }
  }
  return schemes;
}

}  // namespace

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
    batch.Arg(config_.channel, ":", Keys::HashTag(bucket));
  } else {
    batch.Arg("PUBLISH");
    batch.Arg(config_.channel);
  }
}

void RedisStore::AddAnnouncement(Batch& batch, unsigned bucket, std::span<const Tag> tags) const {
  AddChannel(batch, bucket);
  batch.Arg(EncodeMessage(MessageKind::kBump, peers_->origin(), tags));
}

void RedisStore::AddUnlock(Batch& batch, Tag tag, std::string_view key,
                           std::string_view owner) const {
  batch.StartScript(BucketOf(tag), scripts::kUnlock, 1, 4);
  keys_.Lock(batch, tag, key);
  batch.Arg(owner);
  AddChannel(batch, BucketOf(tag));
  batch.Arg(EncodeMessage(MessageKind::kUnlock, peers_->origin(), {&tag, 1}));
}

Result<GetReply> RedisStore::Get(std::string_view key, std::span<const Tag> tags) {
  const Tag key_tag = KeyTag(key);
  const unsigned bucket = BucketOf(key_tag);
  const Grouped parts(*servers_, tags.size(), [&](std::size_t i) { return tags[i]; });
  Batch& batch = NewBatch();
  // TTL before value: should the entry be replaced in between, the older time is the shorter one.
  batch.Start(bucket, 2);
  batch.Arg("PTTL");
  keys_.Entry(batch, key_tag, key);
  batch.Start(bucket, 2);
  batch.Arg("GET");
  keys_.Entry(batch, key_tag, key);
  AddTokenReads(batch, keys_, tags, parts);
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  GetReply reply;
  SetHead(reply, batch);
  reply.entry = ReadEntry(batch.reply(0), batch.reply(1));
  reply.tokens.resize(tags.size());
  if (Status status = ReadTokens(batch, 2, parts, reply.tokens); !status.ok()) return status;
  return reply;
}

Result<std::vector<GetReply>> RedisStore::GetMany(std::span<const std::string> keys) {
  std::vector<Tag> tags(keys.size());
  std::transform(keys.begin(), keys.end(), tags.begin(),
                 [](const std::string& key) { return KeyTag(key); });
  const Grouped parts(*servers_, keys.size(), [&](std::size_t i) { return tags[i]; });
  Batch& batch = NewBatch();
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

Result<TokensReply> RedisStore::Tokens(std::span<const Tag> tags) {
  TokensReply reply;
  const Grouped parts(*servers_, tags.size(), [&](std::size_t i) { return tags[i]; });
  Batch& batch = NewBatch();
  AddTokenReads(batch, keys_, tags, parts);
  if (tags.empty()) batch.Add(0, {"PING"});  // for the epoch
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  SetHead(reply, batch);
  reply.tokens.resize(tags.size());
  if (Status status = ReadTokens(batch, 0, parts, reply.tokens); !status.ok()) return status;
  return reply;
}

Result<TokensReply> RedisStore::Mint(std::span<const Tag> tags,
                                     std::span<const SchemeRequest> schemes) {
  // Schemes and tokens are things of the same list, schemes first, so that each group's script call
  // registers its schemes before it reads its tokens.
  const std::size_t total = schemes.size() + tags.size();
  TokensReply reply;
  if (total == 0) return reply;
  const Grouped parts(*servers_, total, [&](std::size_t i) {
    return i < schemes.size() ? schemes[i].table : tags[i - schemes.size()];
  });
  const auto is_tag = [&](std::uint32_t i) { return i >= schemes.size(); };
  Batch& batch = NewBatch();
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const std::size_t scheme_count = static_cast<std::size_t>(
        std::find_if(positions.begin(), positions.end(), is_tag) - positions.begin());
    const auto own_schemes = positions.first(scheme_count),
               own_tags = positions.subspan(scheme_count);
    const std::uint32_t first = positions[0];
    const unsigned bucket =
        BucketOf(is_tag(first) ? tags[first - schemes.size()] : schemes[first].table);
    batch.StartScript(bucket, scripts::kMint, 2 * own_schemes.size() + own_tags.size(),
                      5 + 3 * own_schemes.size() + own_tags.size());
    for (std::uint32_t i : own_schemes) {
      keys_.SchemeSet(batch, schemes[i].table);
      keys_.Token(batch, schemes[i].condition_bulk);
    }
    for (std::uint32_t i : own_tags) keys_.Token(batch, tags[i - schemes.size()]);
    AddChannel(batch, bucket);
    // Origin 0: this process has to drop its copies of a bulk token, too.
    batch.Arg(MessageHead(MessageKind::kBump, 0));
    batch.Number(Millis(config_.token_ttl));
    batch.Number(static_cast<std::int64_t>(own_schemes.size()));
    for (std::uint32_t i : own_schemes) {
      batch.Arg(schemes[i].columns);
      batch.Arg(Number(RandomU64()));
      std::string bulk;
      AppendTag(bulk, schemes[i].condition_bulk);
      batch.Arg(bulk);
    }
    for (std::size_t i = 0; i < own_tags.size(); ++i) batch.Arg(Number(RandomU64()));
  }
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  SetHead(reply, batch);
  reply.tokens.resize(tags.size());
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const valkeyReply& values = batch.reply(part);
    const auto positions = parts[part];
    const auto own_tags = positions.subspan(static_cast<std::size_t>(
        std::find_if(positions.begin(), positions.end(), is_tag) - positions.begin()));
    if (values.type != VALKEY_REPLY_ARRAY || values.elements != 2 * own_tags.size()) {
      return Unexpected(values);
    }
    for (std::size_t n = 0; n < own_tags.size(); ++n) {
      const Token token = ReadToken(*values.element[2 * n]);
      if (token == kNoToken) return Unexpected(*values.element[2 * n]);
      reply.tokens[own_tags[n] - schemes.size()] = {token, ReadTtl(*values.element[2 * n + 1])};
    }
  }
  return reply;
}

Result<BeginReply> RedisStore::Begin(std::string_view key, std::uint64_t lock_owner,
                                     Duration lease) {
  const Tag tag = KeyTag(key);
  Batch& batch = NewBatch();
  batch.StartScript(BucketOf(tag), scripts::kBegin, 3, 4);
  keys_.Token(batch, tag);
  keys_.Entry(batch, tag, key);
  keys_.Lock(batch, tag, key);
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
  Batch& batch = NewBatch();
  if (store) {
    batch.StartScript(BucketOf(tag), scripts::kFill, 3, 7);
    keys_.Token(batch, tag);
    keys_.Entry(batch, tag, request.key);
    keys_.Lock(batch, tag, request.key);
    batch.Arg(Number(request.key_token));
    batch.Arg(request.envelope);
    AddTtl(batch, request.ttl);
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
    Batch& unlock = NewBatch();
    AddUnlock(unlock, tag, request.key, owner);
    if (Status status = servers_->Run(unlock, Retry::kIfClosed); !status.ok()) return status;
    return full;
  }
  if (!store && reply.type == VALKEY_REPLY_INTEGER) return true;
  return ReadBool(reply);
}

Result<bool> RedisStore::RenewLock(std::string_view key, std::uint64_t lock_owner, Duration lease) {
  const Tag tag = KeyTag(key);
  Batch& batch = NewBatch();
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
  // A lock without end is none of ours; and a message may be lost with its connection.
  constexpr Duration kLongestSleep = std::chrono::seconds(1);
  const Tag tag = KeyTag(key);
  const Instant end = After(clock_.Now(), timeout);
  Board& board = peers_->board();
  Board::Place place(board, tag);
  for (Duration poll = kFirstPoll;; poll = std::min(poll * 3 / 2, kLastPoll)) {
    const bool listening = board.listening();
    Batch& batch = NewBatch();
    batch.StartScript(BucketOf(tag), scripts::kAwait, 1, 1);
    keys_.Lock(batch, tag, key);
    batch.Arg(listening ? "1" : "0");
    if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
    const valkeyReply& reply = batch.reply(0);
    if (reply.type != VALKEY_REPLY_INTEGER) return Unexpected(reply);
    if (reply.integer == kNoKey) return true;
    const Instant now = clock_.Now();
    if (now >= end) return false;
    Duration sleep = std::min(listening ? kLongestSleep : poll, end - now);
    // One more millisecond: the lease is rounded down.
    if (reply.integer >= 0) sleep = std::min<Duration>(sleep, milliseconds(reply.integer + 1));
    if (place.Wait(sleep)) return true;
  }
}

Result<BumpReply> RedisStore::Bump(std::span<const Tag> tags,
                                   std::span<const SchemeKnowledge> schemes) {
  BumpReply reply;
  const std::size_t total = tags.size() + schemes.size();
  if (total == 0) return reply;
  const Grouped parts(*servers_, total, [&](std::size_t i) {
    return i < tags.size() ? tags[i] : schemes[i - tags.size()].table;
  });
  const auto is_scheme = [&](std::uint32_t i) { return i >= tags.size(); };
  const auto split = [&](std::span<const std::uint32_t> positions) {
    return static_cast<std::size_t>(std::find_if(positions.begin(), positions.end(), is_scheme) -
                                    positions.begin());
  };
  Batch& batch = NewBatch();
  std::vector<Tag> part_tags;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    part_tags.clear();
    for (std::uint32_t i : positions.first(split(positions))) part_tags.push_back(tags[i]);
    const auto own_schemes = positions.subspan(part_tags.size());
    const unsigned bucket =
        BucketOf(part_tags.empty() ? schemes[own_schemes[0] - tags.size()].table : part_tags[0]);
    batch.StartScript(bucket, scripts::kBump, part_tags.size() + 2 * own_schemes.size(),
                      4 + 2 * own_schemes.size());
    for (Tag tag : part_tags) keys_.Token(batch, tag);
    for (std::uint32_t i : own_schemes) {
      keys_.SchemeSet(batch, schemes[i - tags.size()].table);
      keys_.Token(batch, schemes[i - tags.size()].condition_bulk);
    }
    AddAnnouncement(batch, bucket, part_tags);
    batch.Number(static_cast<std::int64_t>(part_tags.size()));
    for (std::uint32_t i : own_schemes) {
      batch.Arg(Number(schemes[i - tags.size()].version));
      std::string bulk;
      AppendTag(bulk, schemes[i - tags.size()].condition_bulk);
      batch.Arg(bulk);
    }
  }
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  SetHead(reply, batch);
  reply.schemes.resize(schemes.size());
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const auto own_schemes = positions.subspan(split(positions));
    const valkeyReply& values = batch.reply(part);
    if (values.type != VALKEY_REPLY_ARRAY || values.elements != own_schemes.size()) {
      return Unexpected(values);
    }
    for (std::size_t n = 0; n < own_schemes.size(); ++n) {
      const std::size_t i = own_schemes[n] - tags.size();
      bool dropped = false;
      Result<Schemes> present = ReadSchemes(*values.element[n], dropped);
      if (!present.ok()) return present.status();
      reply.schemes[i] = *std::move(present);
      if (dropped) reply.also_bumped.push_back(schemes[i].condition_bulk);
    }
  }
  return reply;
}

Result<PutReply> RedisStore::Put(std::string_view key, std::string_view envelope, Duration ttl,
                                 PutCondition condition) {
  const Tag tag = KeyTag(key);
  Batch& batch = NewBatch();
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
    if (Status status = DeleteKeys(NewBatch(), {&key, 1}, count); !status.ok()) return status;
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
  if (Status status = DeleteKeys(NewBatch(), views, count); !status.ok()) return status;
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
  Batch& batch = NewBatch();
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
  Batch& batch = NewBatch();
  // One channel is enough: every listener hears all of them.
  batch.Start(0, 3);
  AddChannel(batch, 0);
  batch.Arg(message);
  status = servers_->Run(batch, Retry::kIfClosed);
  if (status.ok() && batch.reply(0).type != VALKEY_REPLY_INTEGER) return Unexpected(batch.reply(0));
  return status;
}

Result<bool> RedisStore::TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) {
  const Tag tag = KeyTag(name);
  Batch& batch = NewBatch();
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
  Batch& batch = NewBatch();
  batch.StartScript(BucketOf(tag), scripts::kUserUnlock, 1, 1);
  keys_.UserLock(batch, tag, name);
  batch.Arg(Number(owner));
  if (Status status = servers_->Run(batch, Retry::kNever); !status.ok()) return status;
  return ReadBool(batch.reply(0));
}

void RedisStore::AfterFork() {
  peers_->AfterFork();
  servers_->AfterFork();
}

}  // namespace smartcache::redis
