// The way of a write: tell the store, then forget here. Explicit stores likewise.
#include <utility>

#include "cache/cache_impl.h"

namespace smartcache {

void CacheImpl::DropLocally(std::span<const Tag> tags) {
  for (const Tag tag : tags) {
    slots_.Drop(tag);
    table_.Erase(tag);  // where it is the tag of a key
  }
}

bool CacheImpl::Replay() {
  if (!store_->Available()) return false;
  if (replaying_.exchange(true, std::memory_order_acquire)) return false;
  const Pending::Batch batch = pending_.Peek();
  bool sent = !batch.everything || store_->Clear().ok();
  if (!batch.tags.empty()) sent = sent && store_->Bump(batch.tags, {}).ok();
  if (!batch.keys.empty()) sent = sent && store_->Delete(batch.keys).ok();
  if (sent) {
    if (batch.everything) slots_.DropAll();
    DropLocally(batch.tags);
    for (const auto& key : batch.keys) DropLocally(std::array{KeyTag(key)});
    pending_.Done(batch);
  }
  replaying_.store(false, std::memory_order_release);
  return pending_.empty();
}

std::optional<BumpReply> CacheImpl::Bump(std::span<const Tag> tags,
                                         std::span<const SchemeKnowledge> schemes) {
  EnsureStarted();
  stats_.Add(Counter::kBump, tags.size());
  auto reply = store_->Bump(tags, schemes);
  if (!reply.ok()) {
    stats_.Add(Counter::kStoreError);
    stats_.Add(Counter::kBumpQueued, tags.size());
    pending_.AddTags(tags);
    for (const auto& known : schemes) pending_.AddTags(std::array{known.condition_bulk});
    return std::nullopt;
  }
  DropLocally(tags);
  DropLocally(reply->also_bumped);
  return std::move(*reply);
}

Result<bool> CacheImpl::Put(std::string_view key, Computed computed, PutCondition condition) {
  const std::array<Tag, 1> own_tag = {KeyTag(key)};
  if (closed_.load(std::memory_order_acquire)) return Unavailable("the cache is closed");
  if (computed.payload.size() > options_.max_payload_bytes) {
    stats_.Add(Counter::kFillTooLarge);
    return Status(Code::kTooLarge, "the value is larger than the limit");
  }
  EnsureStarted();
  EntryHeader header;
  header.identity = computed.identity;
  header.soft_ttl = computed.ttl;
  header.hard_ttl = After(computed.ttl, computed.stale);
  header.cost = computed.cost;
  header.codec = computed.codec;
  header.tags = std::move(computed.tags);
  if (epoch_.load(std::memory_order_relaxed) == 0) {
    const auto reply = store_->Tokens(own_tag);
    if (reply.ok()) epoch_.store(reply->epoch, std::memory_order_relaxed);
  }
  while (true) {
    header.epoch = epoch_.load(std::memory_order_relaxed);
    const auto envelope = EncodeEntry(entry_key_, key, header, computed.payload);
    const auto reply = store_->Put(key, envelope, header.hard_ttl, condition);
    if (!reply.ok()) {
      // It may have arrived or not: what lies under the key, here and there, is not to be served
      // any more.
      stats_.Add(Counter::kStoreError);
      pending_.AddKeys(std::array{std::string(key)});
      return reply.status();
    }
    DropLocally(own_tag);
    if (!reply->stored || reply->epoch == header.epoch) return reply->stored;
    // The store was replaced since: the entry would be a miss. What is there now is what we have
    // just put.
    epoch_.store(reply->epoch, std::memory_order_relaxed);
    condition = PutCondition::kAlways;
  }
}

Result<std::size_t> CacheImpl::Delete(std::span<const std::string> keys) {
  EnsureStarted();
  auto deleted = store_->Delete(keys);
  if (!deleted.ok()) {
    stats_.Add(Counter::kStoreError);
    pending_.AddKeys(keys);
    return deleted;
  }
  for (const auto& key : keys) DropLocally(std::array{KeyTag(key)});
  return deleted;
}

Result<bool> CacheImpl::Touch(std::string_view key, Duration ttl) {
  EnsureStarted();
  if (!Ready()) return Unavailable("the store is down");
  auto touched = store_->Touch(key, ttl);
  DropLocally(std::array{KeyTag(key)});
  return touched;
}

Status CacheImpl::Clear() {
  EnsureStarted();
  auto status = store_->Clear();
  if (!status.ok()) pending_.AddEverything();
  slots_.DropAll();
  table_.Clear();
  return status;
}

Result<bool> CacheImpl::TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) {
  if (!store_->Available()) return Unavailable("the store is down");
  return store_->TryUserLock(name, owner, lease);
}

Result<bool> CacheImpl::UserUnlock(std::string_view name, std::uint64_t owner) {
  return store_->UserUnlock(name, owner);
}

}  // namespace smartcache
