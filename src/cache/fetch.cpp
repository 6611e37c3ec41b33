// Reading the store, and the proof that what was read is fresh.
#include <algorithm>
#include <utility>

#include "cache/cache_impl.h"

namespace smartcache {
namespace {

bool ByTag(const TagToken& a, const TagToken& b) { return a.tag < b.tag; }

// Where `known`, in order of tags, has the tag; else null.
const TagToken* FindIn(const TagVector& known, Tag tag) {
  const auto found = std::lower_bound(known.begin(), known.end(), TagToken{tag, kNoToken}, ByTag);
  return found == known.end() || found->tag != tag ? nullptr : &*found;
}

// Whether it was stored by a Fill, which adds the token of the key's own tag.
bool IsComputed(const EntryHeader& header, Tag hash) {
  return std::ranges::find(header.tags, hash, &TagToken::tag) != header.tags.end();
}

}  // namespace

TrustNow CacheImpl::TrustAt() const {
  if (!embedded_) return backplane_ ? trust_.Now() : TrustNow{};
  const std::uint64_t counter = store_->ChangeCounter().value_or(0);
  return {counter, counter == 0 ? Instant{} : kNever};
}

Freshness CacheImpl::JudgeLocal(const LocalEntry& entry, const TrustNow& trust, Instant now) const {
  if (!Usable(trust, now)) return Freshness::kUnknown;
  // Read before the slots: what changes meanwhile makes the shortcut unusable, not wrong.
  const std::uint64_t moment = embedded_ ? trust.stamp : slots_.changes();
  if (entry.checked.load(std::memory_order_acquire) == moment) return Freshness::kFresh;
  if (entry.key_slot &&
      (entry.stamp != trust.stamp || entry.key_slot->version() != entry.key_version)) {
    return Freshness::kStale;
  }
  const Judgement judgement = Judge(entry.tags, trust.stamp, now, trust.until);
  if (judgement.freshness == Freshness::kFresh && judgement.until >= entry.hard_deadline) {
    entry.checked.store(moment, std::memory_order_release);
  }
  return judgement.freshness;
}

CacheImpl::Placeholder CacheImpl::Expect(Tag tag) {
  if (options_.local_max_bytes == 0) return {};
  // Here, where slots are made that no entry may come to refer to. Amortised.
  slots_.Sweep(kMaxSlots);
  SlotRef slot = slots_.Acquire(tag);
  const std::uint64_t version = slot->version();
  return {std::move(slot), version};
}

std::vector<CacheImpl::Placeholder> CacheImpl::Expect(std::span<const Tag> tags) {
  std::vector<Placeholder> expected;
  if (options_.local_max_bytes == 0) return expected;
  expected.reserve(tags.size());
  for (const Tag tag : tags) expected.push_back(Expect(tag));
  return expected;
}

void CacheImpl::Install(std::span<const Tag> tags, std::span<const Placeholder> expected,
                        const Reply& reply, std::span<const TokenReply> tokens,
                        const TrustNow& trust) {
  epoch_.store(reply.epoch, std::memory_order_relaxed);
  const std::uint64_t stamp = embedded_ ? reply.stamp : trust.stamp;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].slot == nullptr || tokens[i].token == kNoToken) continue;
    slots_.Install(tags[i], *expected[i].slot, expected[i].version, tokens[i].token, stamp,
                   After(reply.sent, tokens[i].ttl));
  }
}

Freshness CacheImpl::Revalidate(const LocalEntry& entry) {
  // Only the entry itself can tell.
  if (entry.tags.empty() || entry.key_slot) return Freshness::kStale;
  std::vector<Tag> tags;
  tags.reserve(entry.tags.size());
  for (const auto& held : entry.tags) tags.push_back(held.tag_token.tag);
  const TrustNow trust = TrustAt();
  const auto expected = Expect(tags);
  const auto reply = store_->Tokens(tags);
  if (!reply.ok()) {
    Failed(reply.status());
    return Freshness::kUnknown;
  }
  Install(tags, expected, *reply, reply->tokens, trust);
  if (reply->epoch != entry.epoch) return Freshness::kStale;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    if (reply->tokens[i].token != entry.tags[i].tag_token.token) return Freshness::kStale;
  }
  return Freshness::kFresh;
}

bool CacheImpl::Fresh(std::span<const TagToken> tags) {
  if (!pending_.empty() || closed_.load(std::memory_order_acquire)) return false;
  const TrustNow trust = TrustAt();
  const Instant now = clock_.Now();
  std::vector<Tag> unknown;
  std::vector<Token> wanted;
  for (const auto& [tag, token] : tags) {
    const bool known = Usable(trust, now) && slots_.Acquire(tag)->Matches(token, trust.stamp, now);
    if (known) continue;
    unknown.push_back(tag);
    wanted.push_back(token);
  }
  if (unknown.empty()) return true;
  const auto expected = Expect(unknown);
  const auto reply = store_->Tokens(unknown);
  if (!reply.ok()) {
    Failed(reply.status());
    return false;
  }
  Install(unknown, expected, *reply, reply->tokens, trust);
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    if (reply->tokens[i].token != wanted[i]) return false;
  }
  return true;
}

Result<CacheImpl::StoredPtr> CacheImpl::Fetch(std::string_view key, Tag hash,
                                              const FindOptions& options) {
  const TrustNow trust = TrustAt();
  const std::vector<Tag> tags = hints_.Of(hash);
  const Placeholder own = Expect(hash);
  const auto expected = Expect(tags);
  auto reply = store_->Get(key, tags);
  if (!reply.ok()) {
    Failed(reply.status());
    return reply.status();
  }
  Install(tags, expected, *reply, reply->tokens, trust);
  if (!reply->entry) return StoredPtr();
  TagVector known;
  known.reserve(tags.size());
  for (std::size_t i = 0; i < tags.size(); ++i) known.push_back({tags[i], reply->tokens[i].token});
  std::sort(known.begin(), known.end(), ByTag);
  return Prove(key, hash, options, std::move(*reply->entry), *reply, std::move(known), own, trust);
}

CacheImpl::StoredPtr CacheImpl::Unwrap(std::string_view key, const FindOptions& options,
                                       StoredEntry entry, const Reply& reply) {
  const auto miss = [this](Counter why) {
    stats_.Add(why);
    return StoredPtr();
  };
  auto stored = std::make_unique<StoredValue>();
  stored->envelope = std::move(entry.envelope);
  stored->remaining = entry.ttl;
  const auto decoded = DecodeEntry(entry_key_, key, stored->envelope);
  if (!decoded.ok()) return miss(Counter::kMissCorrupt);
  stored->entry = *decoded;
  const EntryHeader& header = stored->entry.header;
  if (stored->entry.payload.size() > options_.max_payload_bytes) return miss(Counter::kMissCorrupt);
  if (options.identity != kAnyIdentity && header.identity != options.identity) {
    return miss(Counter::kMissIdentity);
  }
  if (header.epoch != reply.epoch) return miss(Counter::kMissEpoch);
  // Explicit entries may have been touched since; of a computed one that would have dropped its
  // key's token, so that a longer time can only be that of an entry that it has replaced just now.
  if (IsComputed(header, KeyTag(key))) {
    stored->remaining = std::min(stored->remaining, header.hard_ttl);
  }
  if (header.hard_ttl != kNever && stored->remaining != kNever) {
    stored->stale = stored->remaining <= header.hard_ttl - header.soft_ttl;
    if (stored->stale && !options.stale) return miss(Counter::kMissExpired);
  }
  return stored;
}

Status CacheImpl::Learn(std::span<const TagToken> tags, const Reply& reply, const TrustNow& trust,
                        TagVector& known) {
  std::vector<Tag> missing;
  for (const auto& [tag, token] : tags) {
    if (FindIn(known, tag) == nullptr) missing.push_back(tag);
  }
  if (missing.empty()) return Ok();
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  const auto expected = Expect(missing);
  const auto more = store_->Tokens(missing);
  if (!more.ok()) {
    Failed(more.status());
    return more.status();
  }
  Install(missing, expected, *more, more->tokens, trust);
  // Those of a store that was replaced since are no evidence, which makes the entry a miss.
  const bool same = more->epoch == reply.epoch;
  for (std::size_t i = 0; i < missing.size(); ++i) {
    known.push_back({missing[i], same ? more->tokens[i].token : kNoToken});
  }
  std::sort(known.begin(), known.end(), ByTag);
  return Ok();
}

CacheImpl::StoredPtr CacheImpl::Verify(StoredPtr stored, Tag hash, const Reply& reply,
                                       const TagVector& known, const Placeholder& own,
                                       const TrustNow& trust) {
  const EntryHeader& header = stored->entry.header;
  hints_.Note(hash, header.tags);
  for (const auto& [tag, token] : header.tags) {
    const TagToken* const present = FindIn(known, tag);
    if (present == nullptr || present->token != token) {
      stats_.Add(Counter::kMissInvalidated);
      return nullptr;
    }
  }
  stored->draft = Draft(*stored, hash, reply, own, trust);
  return stored;
}

Result<CacheImpl::StoredPtr> CacheImpl::Prove(std::string_view key, Tag hash,
                                              const FindOptions& options, StoredEntry entry,
                                              const Reply& reply, TagVector known,
                                              const Placeholder& own, const TrustNow& trust) {
  StoredPtr stored = Unwrap(key, options, std::move(entry), reply);
  if (stored == nullptr) return stored;
  // Tokens that the hint did not foresee take a second trip.
  if (Status status = Learn(stored->entry.header.tags, reply, trust, known); !status.ok()) {
    return status;
  }
  return Verify(std::move(stored), hash, reply, known, own, trust);
}

std::shared_ptr<LocalEntry> CacheImpl::Draft(const StoredValue& stored, Tag hash,
                                             const Reply& reply, const Placeholder& own,
                                             const TrustNow& trust) {
  if (options_.local_max_bytes == 0) return nullptr;
  const EntryHeader& header = stored.entry.header;
  auto draft = std::make_shared<LocalEntry>();
  draft->hash = hash;
  draft->key = stored.entry.key;
  draft->identity = header.identity;
  draft->epoch = header.epoch;
  draft->cost = header.cost;
  draft->hard_deadline = After(reply.sent, stored.remaining);
  draft->soft_deadline = draft->hard_deadline == kNever
                             ? kNever
                             : draft->hard_deadline - (header.hard_ttl - header.soft_ttl);
  draft->tags.reserve(header.tags.size());
  for (const auto& tag_token : header.tags) {
    draft->tags.push_back({slots_.Acquire(tag_token.tag), tag_token});
  }
  if (!IsComputed(header, hash)) {
    draft->key_slot = own.slot;
    draft->key_version = own.version;
    draft->stamp = embedded_ ? reply.stamp : trust.stamp;
  }
  return draft;
}

std::optional<std::vector<Token>> CacheImpl::Take(std::span<const Tag> tags,
                                                  std::span<const SchemeRequest> schemes) {
  if (closed_.load(std::memory_order_acquire)) return std::nullopt;
  EnsureStarted();
  if (!Ready()) return std::nullopt;
  const TrustNow trust = TrustAt();
  const Instant now = clock_.Now();
  std::vector<Token> tokens(tags.size(), kNoToken);
  std::vector<Tag> unknown;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    // A slot that lags behind the store is an older token, which is always safe here.
    if (Usable(trust, now)) tokens[i] = slots_.Acquire(tags[i])->Usable(trust.stamp, now);
    if (tokens[i] != kNoToken) continue;
    unknown.push_back(tags[i]);
    places.push_back(i);
  }
  if (unknown.empty()) return tokens;
  const auto expected = Expect(unknown);
  const auto reply = store_->Mint(unknown, schemes);
  if (!reply.ok()) {
    Failed(reply.status());
    return std::nullopt;
  }
  Install(unknown, expected, *reply, reply->tokens, trust);
  for (std::size_t i = 0; i < places.size(); ++i) tokens[places[i]] = reply->tokens[i].token;
  return tokens;
}

}  // namespace smartcache
