#include "l2/memory/memory_store.h"

#include <chrono>
#include <utility>

#include "base/random.h"

namespace smartcache {
namespace {

// How often a waiter looks at its clock, which a test may have moved.
constexpr auto kClockCheck = std::chrono::milliseconds(1);

Status Down() { return Unavailable("memory: the store is down"); }

template <class Map>
bool TryLock(Map& locks, std::string_view name, std::uint64_t owner, Instant now, Duration lease) {
  const auto found = locks.find(name);
  if (found != locks.end() && found->second.value != owner && now < found->second.deadline) {
    return false;
  }
  locks.insert_or_assign(std::string(name), typename Map::mapped_type{owner, After(now, lease)});
  return true;
}

template <class Map>
bool Unlock(Map& locks, std::string_view name, std::uint64_t owner, Instant now) {
  const auto found = locks.find(name);
  if (found == locks.end() || found->second.value != owner) return false;
  const bool held = now < found->second.deadline;
  locks.erase(found);
  return held;
}

}  // namespace

MemoryData::MemoryData() : changes_(RandomU64() | 1) {
  MutexLock lock(mutex_);
  epoch_ = RandomU64();
}

void MemoryData::Forget() {
  entries_.clear();
  tokens_.clear();
  schemes_.clear();
  ++changes_;
}

Instant MemoryData::NearestMark(Tag tag, Instant now) const {
  Instant nearest = kNever;
  const auto found = marks_.find(tag);
  if (found == marks_.end()) return nearest;
  for (const auto& [writer, deadline] : found->second) {
    if (deadline > now) nearest = std::min(nearest, deadline);
  }
  return nearest;
}

void MemoryData::Wipe() {
  MutexLock lock(mutex_);
  Forget();
  epoch_ = RandomU64();
}

void MemoryData::FailOver() {
  MutexLock lock(mutex_);
  epoch_ = RandomU64();
  ++changes_;
}

void MemoryData::Listen(std::function<void(const Announcement&)> listener) {
  MutexLock lock(mutex_);
  listeners_.push_back(std::move(listener));
}

std::uint64_t MemoryData::epoch() const {
  MutexLock lock(mutex_);
  return epoch_;
}

void MemoryData::Announce(const Announcement& announcement) {
  std::vector<std::function<void(const Announcement&)>> listeners;
  {
    MutexLock lock(mutex_);
    listeners = listeners_;
  }
  for (const auto& listener : listeners) listener(announcement);
}

MemoryStore::MemoryStore(const Options& options, const Clock& clock,
                         std::shared_ptr<MemoryData> data, Kind kind)
    : options_(options), clock_(clock), data_(std::move(data)), kind_(kind) {}

bool MemoryStore::Arrive(std::string_view method) {
  ++calls_;
  if (hook_) hook_(method);
  return Available();
}

template <class T>
Result<T> MemoryStore::Answer(T answer) const {
  if (fault_.load() == Fault::kAnswerLost) return Unavailable("memory: the answer was lost");
  return answer;
}

std::uint64_t MemoryStore::Stamp() const {
  return kind_ == Kind::kEmbedded ? data_->changes_.load() : 0;
}

template <class R>
R MemoryStore::NewReply(Instant now) const {
  R reply;
  reply.sent = now;
  reply.epoch = data_->epoch_;
  reply.stamp = Stamp();
  return reply;
}

TokenReply MemoryStore::Present(Tag tag, Instant now) const {
  const auto found = data_->tokens_.find(tag);
  if (found == data_->tokens_.end() || found->second.deadline <= now) {
    return {kNoToken, Duration(0)};
  }
  return {found->second.value, found->second.deadline - now};
}

TokenReply MemoryStore::MintOne(Tag tag, Instant now) {
  TokenReply present = Present(tag, now);
  const Instant marked = data_->NearestMark(tag, now);
  if (present.token == kNoToken) {
    present.token = RandomU64();
  } else if (marked != kNever) {
    return present;
  }
  const Instant deadline = std::min(After(now, options_.token_ttl), marked);
  present.ttl = deadline - now;
  data_->tokens_[tag] = {present.token, deadline};
  return present;
}

std::optional<StoredEntry> MemoryStore::Read(std::string_view key, Instant now) const {
  const auto found = data_->entries_.find(key);
  if (found == data_->entries_.end() || found->second.deadline <= now) return std::nullopt;
  const Instant deadline = found->second.deadline;
  return StoredEntry{found->second.envelope, deadline == kNever ? kNever : deadline - now};
}

void MemoryStore::Drop(Tag tag, Announcement& announcement) {
  data_->tokens_.erase(tag);
  Change(tag, announcement);
}

void MemoryStore::Shorten(Tag tag, Instant deadline, Announcement& announcement) {
  const auto found = data_->tokens_.find(tag);
  if (found != data_->tokens_.end()) {
    found->second.deadline = std::min(found->second.deadline, deadline);
  }
  Change(tag, announcement);
}

void MemoryStore::EndWithMarks(Tag tag, Announcement& announcement) {
  const Instant now = clock_.Now();
  const auto found = data_->tokens_.find(tag);
  if (found == data_->tokens_.end() || found->second.deadline <= now) return;
  const Instant nearest = data_->NearestMark(tag, now);
  const bool sooner = nearest < found->second.deadline;
  found->second.deadline = nearest;
  if (sooner) Change(tag, announcement);
}

void MemoryStore::Unmark(Tag tag, std::uint64_t writer) {
  const Instant now = clock_.Now();
  data_->marks_[tag].erase(writer);
  const auto token = data_->tokens_.find(tag);
  if (token == data_->tokens_.end() || token->second.deadline <= now) return;
  token->second.deadline = std::min(After(now, options_.token_ttl), data_->NearestMark(tag, now));
}

void MemoryStore::Change(Tag tag, Announcement& announcement) {
  announcement.tags.push_back(tag);
  ++data_->changes_;
}

Result<GetReply> MemoryStore::Get(std::string_view key, std::span<const Tag> tags) {
  if (!Arrive("Get")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  auto reply = NewReply<GetReply>(now);
  reply.entry = Read(key, now);
  for (const Tag tag : tags) reply.tokens.push_back(Present(tag, now));
  return Answer(std::move(reply));
}

Result<std::vector<GetReply>> MemoryStore::GetMany(std::span<const std::string> keys) {
  if (!Arrive("GetMany")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  std::vector<GetReply> replies;
  for (const std::string& key : keys) {
    replies.push_back(NewReply<GetReply>(now));
    replies.back().entry = Read(key, now);
  }
  return Answer(std::move(replies));
}

Result<TokensReply> MemoryStore::Tokens(std::span<const Tag> tags) {
  if (!Arrive("Tokens")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  auto reply = NewReply<TokensReply>(now);
  for (const Tag tag : tags) reply.tokens.push_back(Present(tag, now));
  return Answer(std::move(reply));
}

Result<TokensReply> MemoryStore::Mint(std::span<const Tag> tags,
                                      std::span<const SchemeRequest> schemes) {
  if (!Arrive("Mint")) return Down();
  const Instant now = clock_.Now();
  Announcement announcement{this, {}, false};
  TokensReply reply;
  {
    MutexLock lock(data_->mutex_);
    for (const SchemeRequest& request : schemes) {
      auto& set = data_->schemes_[request.table];
      if (set.version == 0) Drop(request.condition_bulk, announcement);
      if (!set.columns.insert(request.columns).second) continue;
      set.version = RandomU64();
      if (const Instant marked = data_->NearestMark(request.condition_bulk, now);
          marked != kNever) {
        Shorten(request.condition_bulk, marked, announcement);
      }
    }
    reply = NewReply<TokensReply>(now);
    for (const Tag tag : tags) reply.tokens.push_back(MintOne(tag, now));
  }
  if (!announcement.tags.empty()) data_->Announce(announcement);
  return Answer(std::move(reply));
}

Result<BeginReply> MemoryStore::Begin(std::string_view key, std::uint64_t lock_owner,
                                      Duration lease) {
  if (!Arrive("Begin")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  auto reply = NewReply<BeginReply>(now);
  reply.locked = lock_owner == 0 || TryLock(data_->locks_, key, lock_owner, now, lease);
  reply.key_token = MintOne(KeyTag(key), now);
  reply.entry = Read(key, now);
  return Answer(std::move(reply));
}

Result<bool> MemoryStore::Fill(const FillRequest& request) {
  if (!Arrive("Fill")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  if (request.lock_owner != 0 && Unlock(data_->locks_, request.key, request.lock_owner, now)) {
    data_->unlocked_.notify_all();
  }
  if (request.envelope.empty()) return Answer(true);
  const Token present = Present(KeyTag(request.key), now).token;
  if (present == kNoToken || present != request.key_token) return Answer(false);
  data_->entries_[std::string(request.key)] = {std::string(request.envelope),
                                               After(now, request.ttl)};
  return Answer(true);
}

Result<bool> MemoryStore::RenewLock(std::string_view key, std::uint64_t lock_owner,
                                    Duration lease) {
  if (!Arrive("RenewLock")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  const auto found = data_->locks_.find(key);
  if (found == data_->locks_.end() || found->second.value != lock_owner ||
      found->second.deadline <= now) {
    return Answer(false);
  }
  found->second.deadline = After(now, lease);
  return Answer(true);
}

Result<bool> MemoryStore::AwaitUnlock(std::string_view key, Duration timeout) {
  if (hook_) hook_("AwaitUnlock");
  const Instant end = After(clock_.Now(), timeout);
  MutexLock lock(data_->mutex_);
  while (Available()) {
    const Instant now = clock_.Now();
    const auto found = data_->locks_.find(key);
    if (found == data_->locks_.end() || found->second.deadline <= now) return Answer(true);
    if (now >= end) return Answer(false);
    data_->unlocked_.wait_for(data_->mutex_, kClockCheck);
  }
  return Down();
}

Status MemoryStore::Mark(std::uint64_t writer, Duration lease, std::span<const Tag> tags,
                         std::span<const SchemeKnowledge> schemes) {
  if (!Arrive("Mark")) return Down();
  Announcement announcement{this, {}, false};
  {
    MutexLock lock(data_->mutex_);
    const Instant deadline = After(clock_.Now(), lease);
    for (const Tag tag : tags) {
      data_->marks_[tag][writer] = deadline;
      EndWithMarks(tag, announcement);
    }
    for (const SchemeKnowledge& known : schemes) {
      data_->marks_[known.condition_bulk][writer] = deadline;
      const auto found = data_->schemes_.find(known.table);
      const std::uint64_t present = found == data_->schemes_.end() ? 0 : found->second.version;
      if (present == 0 || present != known.version) {
        EndWithMarks(known.condition_bulk, announcement);
      }
    }
  }
  data_->Announce(announcement);
  return Answer(true).status();
}

Result<BumpReply> MemoryStore::Bump(std::span<const Tag> tags,
                                    std::span<const SchemeKnowledge> schemes, const Marks& marks) {
  if (!Arrive("Bump")) return Down();
  Announcement announcement{this, {}, false};
  BumpReply reply;
  {
    MutexLock lock(data_->mutex_);
    reply = NewReply<BumpReply>(clock_.Now());
    for (const Tag tag : tags) Drop(tag, announcement);
    for (const SchemeKnowledge& known : schemes) {
      const auto found = data_->schemes_.find(known.table);
      Schemes& set = reply.schemes.emplace_back();
      if (found != data_->schemes_.end()) {
        set.version = found->second.version;
        set.columns.assign(found->second.columns.begin(), found->second.columns.end());
      }
      if (set.version == 0 || set.version != known.version) {
        Drop(known.condition_bulk, announcement);
        reply.also_bumped.push_back(known.condition_bulk);
      }
    }
    for (const Tag tag : marks.tags) Unmark(tag, marks.writer);
    reply.stamp = Stamp();  // a reply to a change tells the counter as the change left it
  }
  data_->Announce(announcement);
  return Answer(std::move(reply));
}

Result<PutReply> MemoryStore::Put(std::string_view key, std::string_view envelope, Duration ttl,
                                  PutCondition condition) {
  if (!Arrive("Put")) return Down();
  const Instant now = clock_.Now();
  Announcement announcement{this, {}, false};
  PutReply reply;
  {
    MutexLock lock(data_->mutex_);
    const bool present = Read(key, now).has_value();
    const bool wrong = condition == (present ? PutCondition::kIfAbsent : PutCondition::kIfPresent);
    if (wrong) return Answer(NewReply<PutReply>(now));
    data_->entries_[std::string(key)] = {std::string(envelope), After(now, ttl)};
    Drop(KeyTag(key), announcement);
    reply = NewReply<PutReply>(now);
    reply.stored = true;
  }
  data_->Announce(announcement);
  return Answer(reply);
}

Result<std::size_t> MemoryStore::Delete(std::span<const std::string> keys) {
  if (!Arrive("Delete")) return Down();
  const Instant now = clock_.Now();
  Announcement announcement{this, {}, false};
  std::size_t deleted = 0;
  {
    MutexLock lock(data_->mutex_);
    for (const std::string& key : keys) {
      deleted += Read(key, now).has_value() ? 1 : 0;
      data_->entries_.erase(key);
      Drop(KeyTag(key), announcement);
    }
  }
  data_->Announce(announcement);
  return Answer(deleted);
}

Result<bool> MemoryStore::Touch(std::string_view key, Duration ttl) {
  if (!Arrive("Touch")) return Down();
  const Instant now = clock_.Now();
  Announcement announcement{this, {}, false};
  {
    MutexLock lock(data_->mutex_);
    if (!Read(key, now).has_value()) return Answer(false);
    data_->entries_.find(key)->second.deadline = After(now, ttl);
    Drop(KeyTag(key), announcement);
  }
  data_->Announce(announcement);
  return Answer(true);
}

Status MemoryStore::Clear() {
  if (!Arrive("Clear")) return Down();
  {
    MutexLock lock(data_->mutex_);
    data_->Forget();
  }
  data_->Announce({this, {}, true});
  return Answer(true).status();
}

Result<bool> MemoryStore::TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) {
  if (!Arrive("TryUserLock")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  const auto found = data_->user_locks_.find(name);
  // Unlike an entry's lock, one that its owner holds already is not given again.
  if (found != data_->user_locks_.end() && now < found->second.deadline) return Answer(false);
  return Answer(TryLock(data_->user_locks_, name, owner, now, lease));
}

Result<bool> MemoryStore::UserUnlock(std::string_view name, std::uint64_t owner) {
  if (!Arrive("UserUnlock")) return Down();
  const Instant now = clock_.Now();
  MutexLock lock(data_->mutex_);
  return Answer(Unlock(data_->user_locks_, name, owner, now));
}

std::optional<std::uint64_t> MemoryStore::ChangeCounter() {
  if (kind_ == Kind::kServer) return std::nullopt;
  return Available() ? data_->changes_.load() : 0;
}

}  // namespace smartcache
