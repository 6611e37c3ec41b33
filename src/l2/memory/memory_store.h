// A store in this process' memory, for tests of the whole way without a server: the same promises
// as the others, and faults on demand. Several MemoryStores over one MemoryData stand for several
// processes. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "smartcache/options.h"
#include "smartcache/store.h"

namespace smartcache {

class MemoryStore;

// What a change is to the other processes.
struct Announcement {
  const MemoryStore* origin = nullptr;
  std::vector<Tag> tags;
  bool clear = false;
};

// What the processes share.
class MemoryData {
 public:
  MemoryData();
  // As if the server had been restarted empty: a new epoch, everything gone but locks and marks.
  void Wipe() EXCLUDES(mutex_);
  // As if an older replica had been promoted: a new epoch over the content as it is.
  void FailOver() EXCLUDES(mutex_);
  // Called with each change, outside any lock, on the thread that made it.
  void Listen(std::function<void(const Announcement&)> listener) EXCLUDES(mutex_);
  [[nodiscard]] std::uint64_t epoch() const EXCLUDES(mutex_);

 private:
  friend class MemoryStore;
  struct Cell {
    std::uint64_t value = 0;  // a token, or a lock's owner
    Instant deadline = kNever;
  };
  struct Entry {
    std::string envelope;
    Instant deadline = kNever;
  };
  struct SchemeSet {
    std::uint64_t version = 0;
    std::set<std::string> columns;
  };

  void Forget() REQUIRES(mutex_);
  // Of the marks of `tag` that live at `now`; kNever: there are none.
  [[nodiscard]] Instant NearestMark(Tag tag, Instant now) const REQUIRES(mutex_);
  void Announce(const Announcement& announcement) EXCLUDES(mutex_);

  mutable Mutex mutex_;
  CondVar unlocked_;
  std::uint64_t epoch_ GUARDED_BY(mutex_) = 0;
  std::atomic<std::uint64_t> changes_;
  std::unordered_map<Tag, Cell> tokens_ GUARDED_BY(mutex_);
  // Writers and the deadlines of their marks.
  std::unordered_map<Tag, std::map<std::uint64_t, Instant>> marks_ GUARDED_BY(mutex_);
  std::unordered_map<Tag, SchemeSet> schemes_ GUARDED_BY(mutex_);
  std::map<std::string, Entry, std::less<>> entries_ GUARDED_BY(mutex_);
  std::map<std::string, Cell, std::less<>> locks_ GUARDED_BY(mutex_);
  std::map<std::string, Cell, std::less<>> user_locks_ GUARDED_BY(mutex_);
  std::vector<std::function<void(const Announcement&)>> listeners_ GUARDED_BY(mutex_);
};

class MemoryStore : public Store {
 public:
  // How L1 learns of changes: by the change counter, or by announcements as from a server.
  enum class Kind { kEmbedded, kServer };
  enum class Fault {
    kNone,
    kDown,        // every call fails and changes nothing; Available() is false
    kAnswerLost,  // calls do their work and fail all the same
  };

  explicit MemoryStore(const Options& options, const Clock& clock,
                       std::shared_ptr<MemoryData> data = std::make_shared<MemoryData>(),
                       Kind kind = Kind::kEmbedded);

  void SetFault(Fault fault) { fault_.store(fault); }
  void SetAvailable(bool available) { SetFault(available ? Fault::kNone : Fault::kDown); }
  // Runs at the start of each call with the method's name, outside any lock: the place where a test
  // lets something else happen first. Set it before other threads use the store.
  void SetHook(std::function<void(std::string_view)> hook) { hook_ = std::move(hook); }
  // Round trips so far; AwaitUnlock is not counted.
  [[nodiscard]] std::uint64_t calls() const { return calls_.load(); }
  [[nodiscard]] const std::shared_ptr<MemoryData>& data() const { return data_; }

  Result<GetReply> Get(std::string_view key, std::span<const Tag> tags) override;
  Result<std::vector<GetReply>> GetMany(std::span<const std::string> keys) override;
  Result<TokensReply> Tokens(std::span<const Tag> tags) override;
  Result<TokensReply> Mint(std::span<const Tag> tags,
                           std::span<const SchemeRequest> schemes) override;
  Result<BeginReply> Begin(std::string_view key, std::uint64_t lock_owner, Duration lease) override;
  Result<bool> Fill(const FillRequest& request) override;
  Result<bool> RenewLock(std::string_view key, std::uint64_t lock_owner, Duration lease) override;
  Result<bool> AwaitUnlock(std::string_view key, Duration timeout) override;
  Status Mark(std::uint64_t writer, Duration lease, std::span<const Tag> tags,
              std::span<const SchemeKnowledge> schemes) override;
  using Store::Bump;
  Result<BumpReply> Bump(std::span<const Tag> tags, std::span<const SchemeKnowledge> schemes,
                         const Marks& marks) override;
  Result<PutReply> Put(std::string_view key, std::string_view envelope, Duration ttl,
                       PutCondition condition) override;
  Result<std::size_t> Delete(std::span<const std::string> keys) override;
  Result<bool> Touch(std::string_view key, Duration ttl) override;
  Status Clear() override;
  Result<bool> TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) override;
  Result<bool> UserUnlock(std::string_view name, std::uint64_t owner) override;
  std::optional<std::uint64_t> ChangeCounter() override;
  bool Available() override { return fault_.load() != Fault::kDown; }
  void AfterFork() override {}
  [[nodiscard]] std::string Describe() const override { return "memory:"; }

 private:
  using Data = MemoryData;
  // Counts the call, runs the hook; false when the store is down.
  bool Arrive(std::string_view method);
  // `answer`, unless answers are lost.
  template <class T>
  Result<T> Answer(T answer) const;
  [[nodiscard]] std::uint64_t Stamp() const;
  template <class R>
  R NewReply(Instant now) const REQUIRES(data_->mutex_);
  TokenReply Present(Tag tag, Instant now) const REQUIRES(data_->mutex_);
  TokenReply MintOne(Tag tag, Instant now) REQUIRES(data_->mutex_);
  std::optional<StoredEntry> Read(std::string_view key, Instant now) const REQUIRES(data_->mutex_);
  void Drop(Tag tag, Announcement& announcement) REQUIRES(data_->mutex_);
  // Others must look at the tag's token anew.
  void Change(Tag tag, Announcement& announcement) REQUIRES(data_->mutex_);
  void Shorten(Tag tag, Instant deadline, Announcement& announcement) REQUIRES(data_->mutex_);
  // Has the token end with the nearest of its marks, sooner or later than before.
  void EndWithMarks(Tag tag, Announcement& announcement) REQUIRES(data_->mutex_);
  void Unmark(Tag tag, std::uint64_t writer) REQUIRES(data_->mutex_);

  const Options options_;
  const Clock& clock_;
  const std::shared_ptr<MemoryData> data_;
  const Kind kind_;
  std::atomic<Fault> fault_{Fault::kNone};
  std::atomic<std::uint64_t> calls_{0};
  std::function<void(std::string_view)> hook_;
};

}  // namespace smartcache
