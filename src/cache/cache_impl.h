// The orchestrator: wires L1, slots, flights, store and backplane into the two ways. One file per
// way: find.cpp (reads), fill.cpp (storing what was computed), write.cpp (invalidation and explicit
// stores), fetch.cpp (reading the store and proving freshness), lifecycle.cpp (threads, forks, the
// listener).
//
// Lock order: none is held while another is taken, across calls of the store, or while a Value is
// destroyed. (The embedded store's own locks: l2/lmdb/access.h.)
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/forks.h"
#include "base/mutex.h"
#include "base/per_process.h"
#include "cache/hints.h"
#include "cache/keeper.h"
#include "cache/pending.h"
#include "cache/replayer.h"
#include "cache/standing.h"
#include "flight/flights.h"
#include "l1/local_table.h"
#include "smartcache/cache.h"
#include "tags/freshness.h"
#include "tags/slots.h"
#include "tags/trust.h"

namespace smartcache {

class CacheImpl final : public Cache,
                        public std::enable_shared_from_this<CacheImpl>,
                        private BackplaneSink {
 public:
  CacheImpl(Options options, std::unique_ptr<Store> store, std::unique_ptr<Backplane> backplane,
            const Clock& clock);
  ~CacheImpl() override;

  bool Fence() override;
  LocalRef Peek(Tag hash, std::string_view key, std::uint64_t identity) override;
  Answer Find(std::string_view key, const FindOptions& options) override;
  Answer Get(std::string_view key, std::uint64_t identity, Proof proof) override;
  std::vector<Answer> GetMany(std::span<const std::string> keys, Proof proof) override;
  std::optional<Duration> Ttl(std::string_view key) override;

  std::optional<std::vector<Token>> Take(std::span<const Tag> tags,
                                         std::span<const SchemeRequest> schemes) override;
  void Admit(Answer& answer, std::unique_ptr<Value> value) override;
  FillOutcome Fill(Lead lead, Computed computed) override;
  void Abandon(Lead lead, bool retry) override;
  bool Fresh(std::span<const TagToken> tags) override;

  std::unique_ptr<Marked> Mark(std::span<const Tag> tags,
                               std::span<const SchemeKnowledge> schemes) override;
  std::unique_ptr<Marked> Stand(std::span<const CoarseTags> tables) override;
  using Cache::Bump;
  std::optional<BumpReply> Bump(std::span<const Tag> tags, std::span<const SchemeKnowledge> schemes,
                                std::unique_ptr<Marked> marked) override;
  Result<bool> Put(std::string_view key, Computed computed, PutCondition condition) override;
  Result<std::size_t> Delete(std::span<const std::string> keys) override;
  Result<bool> Touch(std::string_view key, Duration ttl) override;
  Status Clear() override;

  Result<bool> TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) override;
  Result<bool> UserUnlock(std::string_view name, std::uint64_t owner) override;
  void AfterFork() override;
  void Close() override;
  Stats& stats() override { return stats_; }
  const Options& options() const override { return options_; }
  std::string Describe() const override { return store_->Describe(); }
  LocalUse local_use() const override;
  bool trusted() const override;
  bool pending() const override { return !pending_.empty(); }
  bool available() const override;
  std::optional<Failure> LastFailure() override;

  // Ends what of the lead has not been ended yet.
  void AbandonState(Lead::State& state, bool retry) noexcept;

 private:
  // Slots whose tokens are being fetched: their versions, noted before the request was sent.
  struct Placeholder {
    SlotRef slot;
    std::uint64_t version;
  };
  // Slots beyond this are swept if no entry refers to them.
  static constexpr std::size_t kMaxSlots = 100'000;
  // How long closing goes on sending what is pending: less than servers wait for a process to end.
  static constexpr Duration kLastReplay = std::chrono::seconds(2);
  // How long an entry with tokens is stored: they are minted for at most this (store.h).
  [[nodiscard]] Duration LongestLife() const { return 2 * options_.token_ttl; }
  // Reads of an entry's age do not care for whose instance it was computed.
  static constexpr std::uint64_t kAnyIdentity = ~std::uint64_t{0};

  using StoredPtr = std::unique_ptr<StoredValue>;
  using StatePtr = std::unique_ptr<Lead::State>;

  // --- fetch.cpp
  [[nodiscard]] TrustNow TrustAt() const;
  [[nodiscard]] static bool Usable(const TrustNow& trust, Instant now) { return now < trust.until; }
  // Whether the entry is fresh by the slots alone. Expiry is the caller's.
  [[nodiscard]] Freshness JudgeLocal(const LocalEntry& entry, const TrustNow& trust,
                                     Instant now) const;
  // Asks the store for the present tokens of an L1 entry.
  Freshness Revalidate(const LocalEntry& entry);
  // To be called before the tokens are asked for. Without L1 the placeholder is empty.
  Placeholder Expect(Tag tag);
  std::vector<Placeholder> Expect(std::span<const Tag> tags);
  void Install(std::span<const Tag> tags, std::span<const Placeholder> expected, const Reply& reply,
               std::span<const TokenReply> tokens, const TrustNow& trust);
  // Reads an entry and proves it fresh as of a moment during the call. Null: a miss.
  Result<StoredPtr> Fetch(std::string_view key, Tag hash, const FindOptions& options);
  // `known`: tokens read in the same call as the entry, in order of tags; others are asked for.
  Result<StoredPtr> Prove(std::string_view key, Tag hash, const FindOptions& options,
                          StoredEntry entry, const Reply& reply, TagVector known,
                          const Placeholder& own, const TrustNow& trust);
  // The three steps of Prove. First all that the entry itself tells: null is a miss.
  StoredPtr Unwrap(std::string_view key, const FindOptions& options, StoredEntry entry,
                   const Reply& reply);
  // Then the tokens of `tags` that are not known yet, in one call; kNoToken where there is none.
  Status Learn(std::span<const TagToken> tags, const Reply& reply, const TrustNow& trust,
               TagVector& known);
  // Last whether they are the entry's: null is a miss.
  StoredPtr Verify(StoredPtr stored, Tag hash, const Reply& reply, const TagVector& known,
                   const Placeholder& own, const TrustNow& trust);
  std::shared_ptr<LocalEntry> Draft(const StoredValue& stored, Tag hash, const Reply& reply,
                                    const Placeholder& own, const TrustNow& trust);

  // --- find.cpp
  // Whether the store may be asked: nothing pending (it is replayed first), the breaker closed.
  bool Ready();
  // kHit, or kBypass for "not in L1"; sets `stale` to an entry past its soft TTL that may be
  // served.
  // `ask`: whether the store is asked for the tokens of an entry that cannot be judged without.
  Answer FindLocal(std::string_view key, Tag hash, const FindOptions& options, bool ask,
                   LocalRef& stale);
  Answer LeadOn(StatePtr state, LocalRef stale_local);
  Answer Compute(StatePtr state, LocalRef stale_local, StoredPtr stale_stored);
  // `state` may be null: no flight then.
  Answer Serve(StatePtr state, StoredPtr stored);
  Answer GiveUp(StatePtr state);
  enum class Freed : std::uint8_t { kYes, kHeld, kImpatient };
  // Waits a lock timeout at most for the lock of a key that another process computes.
  Result<Freed> AwaitUnlock(std::string_view key, const Patience* patience);

  // --- fill.cpp
  void Keep(std::shared_ptr<LocalEntry> draft, std::unique_ptr<Value> value);
  // Ends the renewal of the lock that the lead holds, and gives its owner; 0: it holds none. After
  // a fork the lock is the parent's, and stays held.
  std::uint64_t TakeLock(Lead::State& state);
  void Unlock(Lead::State& state);
  void End(Lead::State& state, FlightEnd end);

  // --- write.cpp
  class WriterMarks;
  void DropLocally(std::span<const Tag> tags);
  // Sends what is pending, in parts, until one fails or `until` has come. True when nothing is
  // left.
  bool Replay(Instant until = kNever);
  bool ReplaySome();

  // --- lifecycle.cpp
  // Counts a call of the store that failed, and keeps why.
  void Failed(const Status& status);
  // Starts the listener unless it runs, is being started by another thread, or is closed.
  void EnsureStarted();
  void OnConnected(std::uint64_t epoch) override;
  void OnFence(Instant sent) override;
  void OnBump(std::span<const Tag> tags) override;
  void OnClear() override;
  void OnDisconnected() override;

  const Options options_;
  const EntryKey entry_key_;
  const Clock& clock_;
  Stats stats_;
  const std::unique_ptr<Store> store_;
  const std::unique_ptr<Backplane> backplane_;
  const bool embedded_;
  Slots slots_;
  LocalTable table_;
  Flights flights_;
  Trust trust_;
  Pending pending_;
  Hints hints_;
  Keeper keeper_;
  Standing standing_;
  struct KeptFailure {
    Mutex mutex;
    std::optional<Failure> last GUARDED_BY(mutex);
  };
  PerProcess<KeptFailure> failure_;
  std::atomic<std::uint64_t> epoch_{0};  // last one heard of
  std::atomic<bool> replaying_{false};
  enum class Listener : std::uint8_t { kIdle, kStarting, kStarted, kClosed };
  std::atomic<Listener> listener_{Listener::kIdle};
  std::atomic<bool> closed_{false};
  Replayer replayer_;  // last: its thread uses the rest
};

// What a Lead carries. Destroying it ends what has not been ended: an exception on the way of a
// miss (memory may run out anywhere) costs this caller's answer, not everybody's.
struct Lead::State {
  State() = default;
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::shared_ptr<CacheImpl> cache;
  std::string key;
  Tag hash = 0;
  std::uint64_t epoch = 0;
  Token key_token = kNoToken;
  std::shared_ptr<FlightState> flight;
  std::uint64_t lock_owner = 0;   // 0: holds no lock
  std::uint64_t forks = Forks();  // of the process that it was made in
  Keeper::Handle renewal;
  FindOptions options;
};

}  // namespace smartcache
