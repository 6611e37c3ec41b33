// The way of a write: tell the store, then forget here. Explicit stores likewise.
#include <algorithm>
#include <atomic>
#include <utility>

#include "base/forks.h"
#include "base/random.h"
#include "cache/cache_impl.h"

namespace smartcache {
namespace {

template <class Call>
class Finally {
 public:
  explicit Finally(Call call) : call_(std::move(call)) {}
  ~Finally() { call_(); }
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;

 private:
  Call call_;
};

}  // namespace

void CacheImpl::DropLocally(std::span<const Tag> tags) {
  for (const Tag tag : tags) {
    slots_.Drop(tag);
    table_.Erase(tag);  // where it is the tag of a key
  }
}

bool CacheImpl::Replay(Instant until) {
  if (!store_->Available()) return false;
  if (replaying_.exchange(true, std::memory_order_acquire)) return false;
  const Finally done([this] { replaying_.store(false, std::memory_order_release); });
  while (!pending_.empty()) {
    if (!ReplaySome() || clock_.Now() >= until) break;
  }
  return pending_.empty();
}

bool CacheImpl::ReplaySome() {
  const Pending::Batch batch = pending_.Peek();
  Status status = batch.everything ? store_->Clear() : Ok();
  if (status.ok() && !batch.tags.empty()) status = store_->Bump(batch.tags, {}).status();
  if (status.ok() && !batch.keys.empty()) status = store_->Delete(batch.keys).status();
  if (!status.ok()) {
    Failed(status);
    return false;
  }
  if (batch.everything) slots_.DropAll();
  DropLocally(batch.tags);
  for (const auto& key : batch.keys) DropLocally(std::array{KeyTag(key)});
  pending_.Done(batch);
  return true;
}

// The marks of one writer; or, where its tables are marked by standing ones, those that it gets in
// case that it takes long.
class CacheImpl::WriterMarks final : public Marked {
 public:
  WriterMarks(std::shared_ptr<CacheImpl> cache, std::uint64_t writer, std::vector<Tag> tags,
              bool stands)
      : cache_(std::move(cache)),
        writer_(writer),
        tags_(std::move(tags)),
        stands_(stands),
        placed_(std::make_shared<std::atomic<bool>>(!stands)) {
    renewal_ = cache_->keeper_.Add([&cache = *cache_, writer, tags = tags_, placed = placed_] {
      placed->store(true);
      // One that cannot be renewed ends, and with it what is read of its tags meanwhile.
      (void)cache.store_->Mark(writer, cache.options_.mark_lease, tags, {});
    });
  }
  ~WriterMarks() override {
    if (stands_ && !released_ && forks_ == Forks()) cache_->standing_.Forsake();
    cache_->keeper_.Remove(renewal_);
  }
  WriterMarks(const WriterMarks&) = delete;
  WriterMarks& operator=(const WriterMarks&) = delete;
  [[nodiscard]] Marks Release() override {
    cache_->keeper_.Remove(renewal_);
    released_ = true;
    return placed_->load() ? Marks{writer_, tags_} : Marks{};
  }

 private:
  const std::shared_ptr<CacheImpl> cache_;
  const std::uint64_t writer_;
  const std::vector<Tag> tags_;
  const bool stands_;
  const std::uint64_t forks_ = Forks();
  const std::shared_ptr<std::atomic<bool>> placed_;
  bool released_ = false;
  Keeper::Handle renewal_;
};

std::unique_ptr<Marked> CacheImpl::Mark(std::span<const Tag> tags,
                                        std::span<const SchemeKnowledge> schemes) {
  if (closed_.load(std::memory_order_acquire)) return nullptr;
  EnsureStarted();
  if (!store_->Available()) return nullptr;
  const std::uint64_t writer = RandomU64();
  const Status status = store_->Mark(writer, options_.mark_lease, tags, schemes);
  std::vector<Tag> marked(tags.begin(), tags.end());
  for (const SchemeKnowledge& known : schemes) marked.push_back(known.condition_bulk);
  // Its slots hold the times that tokens had, and may have even if the answer was lost.
  for (const Tag tag : marked) slots_.Drop(tag);
  if (!status.ok()) {
    Failed(status);
    return nullptr;
  }
  stats_.Add(Counter::kMark, tags.size());
  return std::make_unique<WriterMarks>(shared_from_this(), writer, std::move(marked), false);
}

std::unique_ptr<Marked> CacheImpl::Stand(std::span<const CoarseTags> tables) {
  std::vector<Tag> tags;
  for (const CoarseTags& table : tables) {
    const auto all = table.All();
    tags.insert(tags.end(), all.begin(), all.end());
  }
  EnsureStarted();
  // Whether the store is the one that was told is known while its listener is heard.
  if (!Usable(TrustAt(), clock_.Now())) return Mark(tags, {});
  if (closed_.load(std::memory_order_acquire) || !store_->Available()) return nullptr;
  if (!standing_.Covers(tables)) {
    const Status status = standing_.Place(tables);
    for (const Tag tag : tags) slots_.Drop(tag);  // as in Mark
    if (!status.ok()) {
      Failed(status);
      return nullptr;
    }
    stats_.Add(Counter::kMark, tags.size());
  }
  return std::make_unique<WriterMarks>(shared_from_this(), RandomU64(), std::move(tags), true);
}

std::optional<BumpReply> CacheImpl::Bump(std::span<const Tag> tags,
                                         std::span<const SchemeKnowledge> schemes,
                                         std::unique_ptr<Marked> marked) {
  EnsureStarted();
  stats_.Add(Counter::kBump, tags.size());
  auto reply = store_->Bump(tags, schemes, marked ? marked->Release() : Marks{});
  if (!reply.ok()) {
    Failed(reply.status());
    // What was changed ends with its marks, until it is replayed.
    standing_.Forsake();
    stats_.Add(Counter::kBumpQueued, tags.size());
    pending_.AddTags(tags);
    for (const auto& known : schemes) pending_.AddTags(std::array{known.condition_bulk});
    replayer_.Wake();
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
    // What it was to replace is old now.
    if (condition != PutCondition::kIfAbsent) (void)Delete(std::array{std::string(key)});
    return Status(Code::kTooLarge, "the value is larger than the limit");
  }
  EnsureStarted();
  EntryHeader header;
  header.identity = computed.identity;
  // What has tokens ends with them; what the user stores without any lives as long as was said.
  const Duration longest = computed.tags.empty() ? kNever : LongestLife();
  header.soft_ttl = std::min(computed.ttl, longest);
  header.hard_ttl = std::min(After(computed.ttl, computed.stale), longest);
  header.cost = computed.cost;
  header.codec = computed.codec;
  header.tags = std::move(computed.tags);
  if (epoch_.load(std::memory_order_relaxed) == 0) {
    const auto reply = store_->Tokens(own_tag);
    if (reply.ok()) epoch_.store(reply->epoch, std::memory_order_relaxed);
  }
  for (int attempt = 0;; ++attempt) {
    header.epoch = epoch_.load(std::memory_order_relaxed);
    const auto envelope = EncodeEntry(entry_key_, key, header, computed.payload);
    const auto reply = store_->Put(key, envelope, header.hard_ttl, condition);
    if (!reply.ok()) {
      Failed(reply.status());
      // It may have arrived or not: what lies under the key, here and there, is not to be served
      // any more.
      if (reply.status().code() != Code::kTooLarge) {
        pending_.AddKeys(std::array{std::string(key)});
        replayer_.Wake();
      }
      DropLocally(own_tag);
      return reply.status();
    }
    DropLocally(own_tag);
    if (!reply->stored || reply->epoch == header.epoch) return reply->stored;
    // The store was replaced since: the entry would be a miss. What is there now is what we have
    // just put.
    epoch_.store(reply->epoch, std::memory_order_relaxed);
    condition = PutCondition::kAlways;
    if (attempt != 0) {  // what was put is a miss, and so is what it replaced
      return Unavailable("the store is being replaced all the time");
    }
  }
}

Result<std::size_t> CacheImpl::Delete(std::span<const std::string> keys) {
  EnsureStarted();
  auto deleted = store_->Delete(keys);
  if (!deleted.ok()) {
    Failed(deleted.status());
    pending_.AddKeys(keys);
    replayer_.Wake();
    return deleted;
  }
  for (const auto& key : keys) DropLocally(std::array{KeyTag(key)});
  return deleted;
}

Result<bool> CacheImpl::Touch(std::string_view key, Duration ttl) {
  EnsureStarted();
  if (!Ready()) return Unavailable("the store is down");
  auto touched = store_->Touch(key, ttl);
  if (!touched.ok()) Failed(touched.status());
  DropLocally(std::array{KeyTag(key)});
  return touched;
}

Status CacheImpl::Clear() {
  EnsureStarted();
  auto status = store_->Clear();
  if (!status.ok()) {
    Failed(status);
    pending_.AddEverything();
    replayer_.Wake();
  }
  slots_.DropAll();
  table_.Clear();
  return status;
}

Result<bool> CacheImpl::TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) {
  if (!store_->Available()) return Unavailable("the store is down");
  auto locked = store_->TryUserLock(name, owner, lease);
  if (!locked.ok()) Failed(locked.status());
  return locked;
}

Result<bool> CacheImpl::UserUnlock(std::string_view name, std::uint64_t owner) {
  return store_->UserUnlock(name, owner);
}

}  // namespace smartcache
