#include "l2/redis/redis_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/random.h"
#include "l2/redis/grouped.h"
#include "l2/redis/message.h"
#include "l2/redis/scripts.h"
#include "l2/redis/values.h"

namespace smartcache::redis {
namespace {

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

// The version that a writer knows, and the tag to announce should it not be the present one.
void AddKnowledge(Batch& batch, const SchemeKnowledge& known) {
  batch.Arg(Number(known.version));
  std::string bulk;
  AppendTag(bulk, known.condition_bulk);
  batch.Arg(bulk);
}

}  // namespace

Result<TokensReply> RedisStore::Tokens(std::span<const Tag> tags) {
  TokensReply reply;
  const Grouped parts(*servers_, tags.size(), [&](std::size_t i) { return tags[i]; });
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  AddTokenReads(batch, keys_, tags, parts, config_.token_ttls);
  if (tags.empty()) batch.Add(0, {"PING"});  // for the epoch
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  SetHead(reply, batch);
  reply.tokens.resize(tags.size());
  if (Status status = ReadTokens(batch, 0, parts, config_.token_ttls, reply.tokens); !status.ok()) {
    return status;
  }
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
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    const std::size_t scheme_count = static_cast<std::size_t>(
        std::find_if(positions.begin(), positions.end(), is_tag) - positions.begin());
    const auto own_schemes = positions.first(scheme_count),
               own_tags = positions.subspan(scheme_count);
    const std::uint32_t first = positions[0];
    const unsigned bucket =
        BucketOf(is_tag(first) ? tags[first - schemes.size()] : schemes[first].table);
    batch.StartScript(bucket, scripts::kMint, 3 * own_schemes.size() + 2 * own_tags.size(),
                      5 + 3 * own_schemes.size() + own_tags.size());
    for (std::uint32_t i : own_schemes) {
      keys_.SchemeSet(batch, schemes[i].table);
      keys_.Token(batch, schemes[i].condition_bulk);
      keys_.Marks(batch, schemes[i].condition_bulk);
    }
    for (std::uint32_t i : own_tags) {
      keys_.Token(batch, tags[i - schemes.size()]);
      keys_.Marks(batch, tags[i - schemes.size()]);
    }
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

Status RedisStore::Mark(std::uint64_t writer, Duration lease, std::span<const Tag> tags,
                        std::span<const SchemeKnowledge> schemes) {
  const std::size_t total = tags.size() + schemes.size();
  if (total == 0) return Ok();
  const Grouped parts(*servers_, total, [&](std::size_t i) {
    return i < tags.size() ? tags[i] : schemes[i - tags.size()].table;
  });
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  std::vector<Tag> part_tags;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    part_tags.clear();
    for (std::uint32_t i : positions) {
      if (i < tags.size()) part_tags.push_back(tags[i]);
    }
    const auto own_schemes = positions.subspan(part_tags.size());
    const unsigned bucket =
        BucketOf(part_tags.empty() ? schemes[own_schemes[0] - tags.size()].table : part_tags[0]);
    batch.StartScript(bucket, scripts::kMark, 2 * part_tags.size() + 3 * own_schemes.size(),
                      6 + 2 * own_schemes.size());
    for (Tag tag : part_tags) {
      keys_.Token(batch, tag);
      keys_.Marks(batch, tag);
    }
    for (std::uint32_t i : own_schemes) {
      keys_.SchemeSet(batch, schemes[i - tags.size()].table);
      keys_.Token(batch, schemes[i - tags.size()].condition_bulk);
      keys_.Marks(batch, schemes[i - tags.size()].condition_bulk);
    }
    // That their time is shorter is to others what a bump is: their slots have to be fetched anew.
    AddAnnouncement(batch, bucket, part_tags);
    batch.Arg(Number(writer));
    batch.Number(Millis(lease));
    batch.Number(static_cast<std::int64_t>(part_tags.size()));
    for (std::uint32_t i : own_schemes) AddKnowledge(batch, schemes[i - tags.size()]);
  }
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    if (batch.reply(part).type != VALKEY_REPLY_INTEGER) return Unexpected(batch.reply(part));
  }
  return Ok();
}

Result<BumpReply> RedisStore::Bump(std::span<const Tag> tags,
                                   std::span<const SchemeKnowledge> schemes, const Marks& marks) {
  BumpReply reply;
  // Tags, then schemes, then what was marked, in each part as in the whole.
  const std::size_t first_scheme = tags.size(), first_marked = first_scheme + schemes.size();
  const std::size_t total = first_marked + marks.tags.size();
  if (total == 0) return reply;
  const auto scheme = [&](std::uint32_t i) -> const SchemeKnowledge& {
    return schemes[i - first_scheme];
  };
  const auto tag_of = [&](std::size_t i) {
    if (i < first_scheme) return tags[i];
    return i < first_marked ? schemes[i - first_scheme].table : marks.tags[i - first_marked];
  };
  const Grouped parts(*servers_, total, tag_of);
  const auto before = [](std::span<const std::uint32_t> positions, std::size_t bound) {
    return static_cast<std::size_t>(
        std::ranges::lower_bound(positions, static_cast<std::uint32_t>(bound)) - positions.begin());
  };
  const auto schemes_of = [&](std::span<const std::uint32_t> positions) {
    const std::size_t from = before(positions, first_scheme);
    return positions.subspan(from, before(positions, first_marked) - from);
  };
  const BorrowedBatch borrowed;
  Batch& batch = borrowed;
  std::vector<Tag> part_tags;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto positions = parts[part];
    part_tags.clear();
    for (std::uint32_t i : positions.first(before(positions, first_scheme))) {
      part_tags.push_back(tags[i]);
    }
    const auto own_schemes = schemes_of(positions);
    const auto own_marked = positions.subspan(part_tags.size() + own_schemes.size());
    const unsigned bucket = BucketOf(tag_of(positions[0]));
    batch.StartScript(bucket, scripts::kBump,
                      part_tags.size() + 2 * own_schemes.size() + 2 * own_marked.size(),
                      7 + 2 * own_schemes.size());
    for (Tag tag : part_tags) keys_.Token(batch, tag);
    for (std::uint32_t i : own_schemes) {
      keys_.SchemeSet(batch, scheme(i).table);
      keys_.Token(batch, scheme(i).condition_bulk);
    }
    for (std::uint32_t i : own_marked) {
      keys_.Token(batch, marks.tags[i - first_marked]);
      keys_.Marks(batch, marks.tags[i - first_marked]);
    }
    AddAnnouncement(batch, bucket, part_tags);
    batch.Arg(Number(marks.writer));
    batch.Number(Millis(config_.token_ttl));
    batch.Number(static_cast<std::int64_t>(part_tags.size()));
    batch.Number(static_cast<std::int64_t>(own_schemes.size()));
    for (std::uint32_t i : own_schemes) AddKnowledge(batch, scheme(i));
  }
  if (Status status = servers_->Run(batch, Retry::kIfClosed); !status.ok()) return status;
  SetHead(reply, batch);
  reply.schemes.resize(schemes.size());
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const auto own_schemes = schemes_of(parts[part]);
    const valkeyReply& values = batch.reply(part);
    if (values.type != VALKEY_REPLY_ARRAY || values.elements != own_schemes.size()) {
      return Unexpected(values);
    }
    for (std::size_t n = 0; n < own_schemes.size(); ++n) {
      bool dropped = false;
      Result<Schemes> present = ReadSchemes(*values.element[n], dropped);
      if (!present.ok()) return present.status();
      reply.schemes[own_schemes[n] - first_scheme] = *std::move(present);
      if (dropped) reply.also_bumped.push_back(scheme(own_schemes[n]).condition_bulk);
    }
  }
  return reply;
}

}  // namespace smartcache::redis
