// The way of a read: L1, then the flight, then the store, then the lock, then the caller computes.
// Where a flight would cost more than it saves, the store comes before it.
#include <algorithm>
#include <thread>
#include <utility>

#include "base/random.h"
#include "cache/cache_impl.h"

namespace smartcache {

namespace {

// How often a caller waits for somebody else's result that then is not there, before it computes
// for itself.
constexpr int kMaxVainWaits = 2;

}  // namespace

bool CacheImpl::Fence() {
  if (embedded_) return true;
  EnsureStarted();
  if (!backplane_ || !Usable(TrustAt(), clock_.Now())) return false;
  stats_.Add(Counter::kFenceAsked);
  if (backplane_->Fence(options_.redis_timeout).ok()) return true;
  // Whoever asks next need not wait as well: until a heartbeat is answered nothing is trusted.
  trust_.End();
  return false;
}

LocalRef CacheImpl::Peek(Tag hash, std::string_view key, std::uint64_t identity) {
  if (!pending_.empty() || closed_.load(std::memory_order_acquire)) return nullptr;
  LocalRef entry = table_.Find(hash, key);
  if (!entry || entry->identity != identity) return nullptr;
  const Instant now = clock_.Now();
  if (now >= entry->soft_deadline || now >= entry->hard_deadline) return nullptr;
  if (JudgeLocal(*entry, TrustAt(), now) != Freshness::kFresh) return nullptr;
  stats_.Add(Counter::kLocalHit);
  return entry;
}

bool CacheImpl::Ready() {
  if (!pending_.empty() && !Replay()) return false;
  return store_->Available();
}

Answer CacheImpl::FindLocal(std::string_view key, Tag hash, const FindOptions& options, bool ask,
                            LocalRef& stale) {
  LocalRef entry = table_.Find(hash, key);
  if (!entry) return {};
  if (entry->identity != options.identity) {
    stats_.Add(Counter::kMissIdentity);
    return {};
  }
  const Instant now = clock_.Now();
  if (now >= entry->hard_deadline) {
    stats_.Add(Counter::kMissExpired);
    table_.Erase(*entry);
    return {};
  }
  Freshness freshness =
      options.proof == Proof::kSlots ? JudgeLocal(*entry, TrustAt(), now) : Freshness::kUnknown;
  if (freshness == Freshness::kUnknown && ask && store_->Available()) {
    freshness = Revalidate(*entry);
  }
  if (freshness == Freshness::kStale) {
    stats_.Add(Counter::kMissInvalidated);
    table_.Erase(*entry);
  }
  if (freshness != Freshness::kFresh) return {};
  Answer answer;
  if (now < entry->soft_deadline) {
    stats_.Add(Counter::kLocalHit);
    answer.kind = AnswerKind::kHit;
    answer.local = std::move(entry);
  } else if (options.stale) {
    stale = std::move(entry);
  } else {
    stats_.Add(Counter::kMissExpired);
  }
  return answer;
}

Answer CacheImpl::Find(std::string_view key, const FindOptions& options) {
  const Tag hash = KeyTag(key);
  const auto bypass = [this] {
    stats_.Add(Counter::kBypass);
    return Answer{};
  };
  if (options.distrust) stats_.Add(Counter::kMissCorrupt);
  if (closed_.load(std::memory_order_acquire)) return bypass();
  EnsureStarted();
  for (int vain_waits = 0; vain_waits <= kMaxVainWaits;) {
    if (!pending_.empty() && !Replay()) return bypass();
    LocalRef stale;
    Answer local = FindLocal(key, hash, options, true, stale);
    if (local.kind == AnswerKind::kHit) return local;
    if (!store_->Available()) return bypass();

    // A flight costs more than reading the embedded store, and without an L1 a value is brought for
    // one caller alone: only who finds nothing needs one.
    const bool looked = (embedded_ || options_.local_max_bytes == 0) && !options.distrust;
    StoredPtr stored;
    if (looked) {
      auto fetched = Fetch(key, hash, options);
      if (!fetched.ok()) return bypass();
      stored = std::move(*fetched);
      if (stored && !stored->stale) return Serve(nullptr, std::move(stored));
    }

    // Made before the flight that it is to end.
    auto state = std::make_unique<Lead::State>();
    state->cache = shared_from_this();
    state->key = key;
    state->hash = hash;
    state->options = options;
    auto joined = flights_.Join(hash, key, options.owner);
    if (joined.role == Flights::Role::kReentrant) return bypass();
    if (joined.role == Flights::Role::kLeader) {
      state->flight = std::move(joined.flight);
      if (looked || options.distrust) {
        stats_.Add(Counter::kMiss);
        return Compute(std::move(state), std::move(stale), std::move(stored));
      }
      return LeadOn(std::move(state), std::move(stale));
    }
    Answer answer;
    if (stale) {
      stats_.Add(Counter::kStaleHit);
      answer.kind = AnswerKind::kStale;
      answer.local = std::move(stale);
      return answer;
    }
    if (options.stale && !looked && !options.distrust) {
      auto fetched = Fetch(key, hash, options);
      if (!fetched.ok()) return bypass();
      stored = std::move(*fetched);
    }
    if (stored) return Serve(nullptr, std::move(stored));
    if (!options.wait) {
      answer.kind = AnswerKind::kWait;
      answer.flight = std::move(joined.flight);
      return answer;
    }
    if (joined.flight->RanBy(std::this_thread::get_id())) {
      Flights::Leave(*joined.flight, options.owner);
      return bypass();
    }
    stats_.Add(Counter::kFlightWait);
    FlightEnd end{};
    const Duration limit = options.nested ? options_.lock_timeout : kNever;
    if (!Flights::Wait(*joined.flight, options.owner, limit, end, options.patience)) {
      stats_.Add(Counter::kLockTimeout);
      return bypass();
    }
    if (end == FlightEnd::kUnshared) return bypass();
    // Shared: it is fresh now, or a write came since the leader began and this caller must not have
    // it. Failed: were all to try in turn, the last would wait for as long as all of them take.
    if (end != FlightEnd::kLeft) ++vain_waits;
  }
  return bypass();
}

Answer CacheImpl::LeadOn(StatePtr state, LocalRef stale_local) {
  const std::string key = state->key;
  auto fetched = Fetch(key, state->hash, state->options);
  if (!fetched.ok()) return GiveUp(std::move(state));
  if (*fetched && !(*fetched)->stale) return Serve(std::move(state), std::move(*fetched));
  stats_.Add(Counter::kMiss);
  return Compute(std::move(state), std::move(stale_local), std::move(*fetched));
}

Answer CacheImpl::Serve(StatePtr state, StoredPtr stored) {
  stats_.Add(stored->stale ? Counter::kStaleHit : Counter::kStoreHit);
  Answer answer;
  answer.kind = AnswerKind::kStored;
  answer.stored = std::move(stored);
  if (state) answer.lead.emplace(std::move(state));
  return answer;
}

Answer CacheImpl::GiveUp(StatePtr state) {
  stats_.Add(Counter::kBypass);
  End(*state, FlightEnd::kUnshared);
  return {};
}

Answer CacheImpl::Compute(StatePtr state, LocalRef stale_local, StoredPtr stale_stored) {
  const bool lock = options_.use_lock && state->options.lock;
  bool may_wait = lock;
  int vain_waits = 0;
  while (true) {
    const std::uint64_t owner = may_wait ? RandomU64() : 0;
    const std::array<Tag, 1> own_tag = {state->hash};
    const TrustNow trust = TrustAt();
    const Placeholder own = Expect(state->hash);
    auto begun = store_->Begin(state->key, owner, options_.lock_timeout);
    if (!begun.ok()) {
      Failed(begun.status());
      return GiveUp(std::move(state));
    }
    Install(own_tag, std::span(&own, 1), *begun, std::span(&begun->key_token, 1), trust);
    state->epoch = begun->epoch;
    state->key_token = begun->key_token.token;
    if (owner != 0 && begun->locked) state->lock_owner = owner;

    if (begun->entry && !state->options.distrust) {
      TagVector known = {{state->hash, begun->key_token.token}};
      auto proven = Prove(state->key, state->hash, state->options, std::move(*begun->entry), *begun,
                          std::move(known), own, trust);
      if (!proven.ok()) {
        Unlock(*state);
        return GiveUp(std::move(state));
      }
      if (*proven && !(*proven)->stale) {
        Unlock(*state);
        return Serve(std::move(state), std::move(*proven));
      }
    }
    if (!may_wait || begun->locked) break;

    // Another process computes.
    if (stale_stored) return Serve(std::move(state), std::move(stale_stored));
    if (stale_local) {
      stats_.Add(Counter::kStaleHit);
      End(*state, FlightEnd::kShared);
      Answer answer;
      answer.kind = AnswerKind::kStale;
      answer.local = std::move(stale_local);
      return answer;
    }
    if (!state->options.linger) {
      End(*state, FlightEnd::kLeft);
      Answer answer;
      answer.kind = AnswerKind::kWait;
      return answer;
    }
    stats_.Add(Counter::kLockWait);
    const auto freed = AwaitUnlock(state->key, state->options.patience);
    if (!freed.ok()) {
      Failed(freed.status());
      return GiveUp(std::move(state));
    }
    if (*freed == Freed::kImpatient) {
      stats_.Add(Counter::kLockTimeout);
      stats_.Add(Counter::kBypass);
      End(*state, FlightEnd::kLeft);  // whoever waits in this process may go on waiting
      return {};
    }
    if (*freed == Freed::kHeld) {
      // Still held: its owner lives and renews it. A nested caller may be what that owner waits
      // for.
      stats_.Add(Counter::kLockTimeout);
      may_wait = !state->options.nested;
      continue;
    }
    auto fetched = Fetch(state->key, state->hash, state->options);
    if (!fetched.ok()) return GiveUp(std::move(state));
    if (*fetched && !(*fetched)->stale) return Serve(std::move(state), std::move(*fetched));
    // Released with nothing there: not to be shared, or its owner died. Do not queue up for that
    // for ever.
    if (++vain_waits >= kMaxVainWaits) may_wait = false;
  }
  if (state->lock_owner != 0) state->renewal = keeper_.Add(state->key, state->lock_owner);
  Answer answer;
  answer.kind = AnswerKind::kLead;
  answer.local = std::move(stale_local);
  answer.stored = std::move(stale_stored);
  answer.lead.emplace(std::move(state));
  return answer;
}

Result<CacheImpl::Freed> CacheImpl::AwaitUnlock(std::string_view key, const Patience* patience) {
  for (Duration left = options_.lock_timeout;;) {
    const Duration span = patience == nullptr ? left : std::min(left, kPatience);
    const auto freed = store_->AwaitUnlock(key, span);
    if (!freed.ok()) return freed.status();
    if (*freed) return Freed::kYes;
    left -= span;
    if (left <= Duration::zero()) return Freed::kHeld;
    if (patience != nullptr && !(*patience)()) return Freed::kImpatient;
  }
}

Answer CacheImpl::Get(std::string_view key, std::uint64_t identity, Proof proof) {
  const Tag hash = KeyTag(key);
  FindOptions options;
  options.identity = identity;
  options.proof = proof;
  if (closed_.load(std::memory_order_acquire)) return {};
  EnsureStarted();
  if (!pending_.empty() && !Replay()) return {};
  LocalRef stale;
  Answer answer = FindLocal(key, hash, options, true, stale);
  if (answer.kind == AnswerKind::kHit || !store_->Available()) return answer;
  auto fetched = Fetch(key, hash, options);
  if (!fetched.ok()) return {};
  if (!*fetched) {
    stats_.Add(Counter::kMiss);
    return {};
  }
  stats_.Add(Counter::kStoreHit);
  answer.kind = AnswerKind::kStored;
  answer.stored = std::move(*fetched);
  return answer;
}

std::vector<Answer> CacheImpl::GetMany(std::span<const std::string> keys, Proof proof) {
  std::vector<Answer> answers(keys.size());
  if (closed_.load(std::memory_order_acquire)) return answers;
  EnsureStarted();
  if (!pending_.empty() && !Replay()) return answers;
  FindOptions options;
  options.proof = proof;
  std::vector<std::string> wanted;
  std::vector<std::size_t> places;
  std::vector<Placeholder> own;
  const TrustNow trust = TrustAt();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    // What cannot be judged here is read again with the others, instead of asked for by itself.
    LocalRef stale;
    answers[i] = FindLocal(keys[i], KeyTag(keys[i]), options, false, stale);
    if (answers[i].kind == AnswerKind::kHit) continue;
    wanted.push_back(keys[i]);
    places.push_back(i);
    own.push_back(Expect(KeyTag(keys[i])));
  }
  if (wanted.empty() || !store_->Available()) return answers;
  auto replies = store_->GetMany(wanted);
  if (!replies.ok()) {
    Failed(replies.status());
    return answers;
  }
  // The tokens of all of them together.
  std::vector<StoredPtr> found(wanted.size());
  TagVector tags;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    auto& reply = (*replies)[i];
    if (!reply.entry) continue;
    found[i] = Unwrap(wanted[i], options, std::move(*reply.entry), reply);
    if (!found[i]) continue;
    const TagVector& held = found[i]->entry.header.tags;
    tags.insert(tags.end(), held.begin(), held.end());
  }
  TagVector known;
  const bool learned = Learn(tags, replies->front(), trust, known).ok();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    StoredPtr proven;
    if (found[i] && learned) {
      proven = Verify(std::move(found[i]), KeyTag(wanted[i]), (*replies)[i], known, own[i], trust);
    }
    stats_.Add(proven ? Counter::kStoreHit : Counter::kMiss);
    if (!proven) continue;
    answers[places[i]].kind = AnswerKind::kStored;
    answers[places[i]].stored = std::move(proven);
  }
  return answers;
}

std::optional<Duration> CacheImpl::Ttl(std::string_view key) {
  const Tag hash = KeyTag(key);
  if (closed_.load(std::memory_order_acquire)) return std::nullopt;
  EnsureStarted();
  if (!Ready()) return std::nullopt;
  FindOptions options;
  options.identity = kAnyIdentity;
  options.stale = true;
  const auto fetched = Fetch(key, hash, options);
  if (!fetched.ok() || !*fetched) return std::nullopt;
  return (*fetched)->remaining;
}

}  // namespace smartcache
