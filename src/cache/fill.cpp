// Storing what was computed, and ending the flight in every case.
#include <algorithm>
#include <utility>

#include "cache/cache_impl.h"

namespace smartcache {

void CacheImpl::Keep(std::shared_ptr<LocalEntry> draft, std::unique_ptr<Value> value) {
  if (!draft || !value) return;
  draft->weight = sizeof(LocalEntry) + draft->key.heap_bytes() +
                  draft->tags.size() * sizeof(SlotToken) + value->weight();
  draft->immutable = value->immutable();
  draft->value = std::move(value);
  table_.Insert(std::move(draft));
}

std::uint64_t CacheImpl::TakeLock(Lead::State& state) {
  keeper_.Remove(state.renewal);
  const std::uint64_t owner = std::exchange(state.lock_owner, 0);
  return state.forks == Forks() ? owner : 0;
}

void CacheImpl::Unlock(Lead::State& state) {
  FillRequest release;
  release.lock_owner = TakeLock(state);
  if (release.lock_owner == 0) return;
  release.key = state.key;
  if (!store_->Fill(release).ok()) keeper_.Release(state.key, release.lock_owner);
}

void CacheImpl::End(Lead::State& state, FlightEnd end) {
  if (state.flight) flights_.End(std::exchange(state.flight, nullptr), end);
}

void CacheImpl::Admit(Answer& answer, std::unique_ptr<Value> value) {
  if (answer.stored) Keep(std::move(answer.stored->draft), std::move(value));
  if (!answer.lead) return;
  const StatePtr state = answer.lead->Release();
  answer.lead.reset();
  End(*state, FlightEnd::kShared);
}

FillOutcome CacheImpl::Fill(Lead lead, Computed computed) {
  const StatePtr state = lead.Release();
  const auto unshared = [&](FillOutcome outcome) {
    Unlock(*state);
    End(*state, FlightEnd::kUnshared);
    return outcome;
  };
  if (computed.payload.size() > options_.max_payload_bytes) {
    stats_.Add(Counter::kFillTooLarge);
    return unshared(FillOutcome::kTooLarge);
  }
  if (closed_.load(std::memory_order_acquire) || !Ready()) {
    return unshared(FillOutcome::kUnavailable);
  }

  EntryHeader header;
  header.epoch = state->epoch;
  header.identity = computed.identity;
  // Reads do not prolong tokens: let the store not keep what nobody can read any more.
  header.soft_ttl = std::min(computed.ttl, LongestLife());
  header.hard_ttl = std::min(After(header.soft_ttl, computed.stale), LongestLife());
  header.cost = computed.cost;
  header.codec = computed.codec;
  header.tags = std::move(computed.tags);
  header.tags.push_back({state->hash, state->key_token});

  FillRequest request;
  const std::string envelope = EncodeEntry(entry_key_, state->key, header, computed.payload);
  request.key = state->key;
  request.envelope = envelope;
  request.ttl = header.hard_ttl;
  request.key_token = state->key_token;
  request.lock_owner = TakeLock(*state);
  const Instant now = clock_.Now();
  const auto stored = store_->Fill(request);
  if (!stored.ok()) {
    Failed(stored.status());
    if (request.lock_owner != 0) keeper_.Release(state->key, request.lock_owner);
    return unshared(FillOutcome::kUnavailable);
  }
  if (!*stored) {
    stats_.Add(Counter::kFillRejected);
    return unshared(FillOutcome::kRejected);
  }

  stats_.Add(Counter::kFill);
  hints_.Note(state->hash, header.tags);
  if (options_.local_max_bytes != 0) {
    auto draft = std::make_shared<LocalEntry>();
    draft->hash = state->hash;
    draft->key = state->key;
    draft->identity = header.identity;
    draft->epoch = header.epoch;
    draft->cost = header.cost;
    draft->soft_deadline = After(now, header.soft_ttl);
    draft->hard_deadline = After(now, header.hard_ttl);
    draft->tags.reserve(header.tags.size());
    for (const auto& tag_token : header.tags) {
      draft->tags.push_back({slots_.Acquire(tag_token.tag), tag_token});
    }
    Keep(std::move(draft), std::move(computed.value));
  }
  End(*state, FlightEnd::kShared);
  return FillOutcome::kStored;
}

void CacheImpl::AbandonState(Lead::State& state, bool retry) noexcept {
  try {
    Unlock(state);
  } catch (...) {
    stats_.Add(Counter::kStoreError);  // the lease ends by itself; the flight does not
  }
  End(state, retry ? FlightEnd::kFailed : FlightEnd::kUnshared);
}

void CacheImpl::Abandon(Lead lead, bool retry) {
  const StatePtr state = lead.Release();
  AbandonState(*state, retry);
}

}  // namespace smartcache
