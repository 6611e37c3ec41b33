// The whole cache of one process: L1, the store, tokens, flights. One object serves all threads.
//
//   auto answer = cache.Find(key, options);   // blocks on I/O and on others' flights
//
// - kHit, kStale: answer.local holds the value.
// - kStored: answer.stored holds the payload: decode it, then Admit. If that fails, give the answer
//   up and ask again with `distrust`.
// - kLead: compute, then Fill, or let the lead go out of scope, which abandons it.
// - kWait: another caller of this process computes (only with wait = false). Subscribe, then retry.
// - kBypass: compute, and store nothing.
//
// Tokens of what a computation depends on are taken with Take BEFORE the data is read; writers call
// Mark before COMMIT and Bump after it. No user code but `patience` runs inside these calls, and
// none holds a lock across I/O or while it runs.
//
// A leader in this process is waited for until it ends, one in another for a lock timeout after its
// last renewal. Who leads another key waits a lock timeout in any case; who asks on the thread that
// leads does not wait, as that may be what the leader needs. What else a leader may need of a
// waiter, the caller knows: its `patience` is asked again and again.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smartcache/backplane.h"
#include "smartcache/clock.h"
#include "smartcache/entry.h"
#include "smartcache/options.h"
#include "smartcache/result.h"
#include "smartcache/stats.h"
#include "smartcache/store.h"
#include "smartcache/tag.h"

namespace smartcache {

struct LocalEntry;  // l1/local_entry.h
using LocalRef = std::shared_ptr<const LocalEntry>;

// A caller's right and duty to bring the value of one key. Movable; destroying an unfinished one
// abandons it.
class Lead {
 public:
  struct State;
  explicit Lead(std::unique_ptr<State> state);
  Lead(Lead&&) noexcept;
  Lead& operator=(Lead&&) noexcept;
  ~Lead();
  [[nodiscard]] std::string_view key() const;
  // Token of the key's own tag, taken before the computation; part of the vector that Fill stores.
  [[nodiscard]] Token key_token() const;
  // For the cache: takes the state out, so that destroying the lead does nothing.
  [[nodiscard]] std::unique_ptr<State> Release();

 private:
  std::unique_ptr<State> state_;
};

// A computation under way in this process.
class Flight {
 public:
  virtual ~Flight() = default;
  // Calls `done` once, on the thread that ends the flight, or at once if it has ended. `done` must
  // not block.
  virtual void Subscribe(std::function<void()> done) = 0;
};

// The tags of a table of which every entry of it carries one.
struct CoarseTags {
  Tag table = 0, bulk = 0, condition_bulk = 0;
  [[nodiscard]] std::array<Tag, 3> All() const { return {table, bulk, condition_bulk}; }
};

// A writer's marks, renewed as long as it lives. Destroying it leaves them to their lease, as a
// writer does that dies.
class Marked {
 public:
  virtual ~Marked() = default;
  // Ends the renewal, and gives what the bump is to take back. The marks are valid as long as this
  // lives.
  [[nodiscard]] virtual Marks Release() = 0;
};

enum class AnswerKind : std::uint8_t { kHit, kStale, kStored, kLead, kWait, kBypass };

// An entry out of the store, owning its bytes.
struct StoredValue {
  std::string envelope;
  EntryView entry;       // views into envelope
  Duration remaining{};  // of the hard TTL
  bool stale = false;    // the soft TTL is over
  std::shared_ptr<LocalEntry>
      draft;  // what L1 will hold once the value is decoded; null: not for L1
};

struct Answer {
  AnswerKind kind = AnswerKind::kBypass;
  LocalRef local;  // kHit, kStale; with kLead: what to serve should computing fail
  std::unique_ptr<StoredValue> stored;  // kStored; with kLead as above
  std::optional<Lead> lead;             // kLead; kStored where a flight waits for Admit
  std::shared_ptr<Flight> flight;       // kWait
};

// Whether to wait on; false ends the wait: kBypass. Asked on the waiting thread, every kPatience.
using Patience = std::function<bool()>;
inline constexpr Duration kPatience = std::chrono::milliseconds(100);

// What proves an entry of L1 fresh: its slots, which on Redis may lag behind by the trust bound
// unless the caller has fenced; or the store, asked at once.
enum class Proof : std::uint8_t { kSlots, kStore };

struct FindOptions {
  std::uint64_t identity =
      0;                    // fingerprint of instances among the arguments; another one is a miss
  std::uint64_t owner = 0;  // thread or task that asks; one that leads a key never waits for itself
  bool lock = true;         // across processes (and Options::use_lock)
  bool wait = true;         // for flights of this process; false: kWait. On an event loop's
                            // thread a wait holds up all that the leader may need: use false there
  bool linger = true;       // for another process that computes; false: kWait, without a flight
  bool nested = false;    // the caller leads another key: bound the wait, so that circles dissolve
  bool stale = false;     // a value past its soft TTL is served while one caller refreshes
  bool distrust = false;  // what lies in the store could not be decoded: compute it anew
  Proof proof = Proof::kSlots;
  const Patience* patience = nullptr;  // none: without end; outlives the call, not the lead
};

struct Computed {
  std::string payload;     // encoded value
  std::uint8_t codec = 0;  // Codec, with kCompressed
  std::uint64_t identity = 0;
  Duration ttl = kNever;
  Duration stale = {};  // how much longer it may be served stale
  Duration cost = {};
  TagVector tags;                // without the key's own
  std::unique_ptr<Value> value;  // for L1; null: L2 only
};

enum class FillOutcome : std::uint8_t { kStored, kRejected, kTooLarge, kUnavailable };

class Cache {
 public:
  // Takes the parts. `backplane` may be null: then L1 is trusted only as the store's ChangeCounter
  // allows.
  static std::shared_ptr<Cache> Make(Options options, std::unique_ptr<Store> store,
                                     std::unique_ptr<Backplane> backplane,
                                     const Clock& clock = Clock::System());
  virtual ~Cache() = default;

  // --- reads
  // Has L1 hear of every bump that was acknowledged before the call: then slots prove as much as
  // the store. One round trip, shared with others that ask meanwhile; none on the embedded store.
  // False: the server has not answered in time, or there is no listener.
  virtual bool Fence() = 0;
  // L1 alone: the entry if it is fresh as of now, else null. Never blocks, no allocation.
  virtual LocalRef Peek(Tag hash, std::string_view key, std::uint64_t identity) = 0;
  virtual Answer Find(std::string_view key, const FindOptions& options) = 0;
  // An explicit read: never leads nor waits. kHit, kStored (without lead) or kBypass (a miss).
  virtual Answer Get(std::string_view key, std::uint64_t identity, Proof proof) = 0;
  virtual std::vector<Answer> GetMany(std::span<const std::string> keys, Proof proof) = 0;
  // Puts the decoded value of a kStored into L1, if nothing has overtaken it (null: not into L1),
  // and ends the flight if there is one.
  virtual void Admit(Answer& answer, std::unique_ptr<Value> value) = 0;
  // Remaining hard TTL; nullopt: no such entry; kNever: without expiry.
  virtual std::optional<Duration> Ttl(std::string_view key) = 0;

  // --- computing
  // Tokens for tags, each current no later than now; nullopt: the store is down, do not store.
  virtual std::optional<std::vector<Token>> Take(std::span<const Tag> tags,
                                                 std::span<const SchemeRequest> schemes) = 0;
  virtual FillOutcome Fill(Lead lead, Computed computed) = 0;
  // Nothing to share: waiters compute for themselves at once (`retry` false: result not to be
  // stored) or one of them takes over (`retry` true: the computation raised).
  virtual void Abandon(Lead lead, bool retry) = 0;
  // Whether every token is still the tag's present one, asked of the slots, else of the store.
  virtual bool Fresh(std::span<const TagToken> tags) = 0;

  // --- writes
  // Says what is about to be committed; to be called before the database is told to. Null: the
  // store is down.
  virtual std::unique_ptr<Marked> Mark(std::span<const Tag> tags,
                                       std::span<const SchemeKnowledge> schemes) = 0;
  // As Mark, of whole tables: by marks that stand for as long as this process goes on writing to
  // them, so that most calls need no round trip.
  virtual std::unique_ptr<Marked> Stand(std::span<const CoarseTags> tables) = 0;
  // What the store has registered, after the bump, for each table asked. Takes `marked` back, which
  // may be null. When the store is down the bump is queued, nothing is served until it has been
  // replayed, and nullopt is returned.
  virtual std::optional<BumpReply> Bump(std::span<const Tag> tags,
                                        std::span<const SchemeKnowledge> schemes,
                                        std::unique_ptr<Marked> marked) = 0;
  std::optional<BumpReply> Bump(std::span<const Tag> tags,
                                std::span<const SchemeKnowledge> schemes) {
    return Bump(tags, schemes, nullptr);
  }
  virtual Result<bool> Put(std::string_view key, Computed computed, PutCondition condition) = 0;
  virtual Result<std::size_t> Delete(std::span<const std::string> keys) = 0;
  virtual Result<bool> Touch(std::string_view key, Duration ttl) = 0;
  virtual Status Clear() = 0;

  // --- the rest
  virtual Result<bool> TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) = 0;
  virtual Result<bool> UserUnlock(std::string_view name, std::uint64_t owner) = 0;
  virtual void AfterFork() = 0;  // in the child: L1 emptied of trust, sockets and threads made anew
  // Tries once more to send bumps that are pending; stops threads. Later calls bypass.
  virtual void Close() = 0;
  [[nodiscard]] virtual Stats& stats() = 0;
  [[nodiscard]] virtual const Options& options() const = 0;
  [[nodiscard]] virtual std::string Describe() const = 0;
  struct LocalUse {
    std::size_t entries, bytes, slots;
  };
  [[nodiscard]] virtual LocalUse local_use() const = 0;
  // True while L1 may be trusted (for status pages and tests).
  [[nodiscard]] virtual bool trusted() const = 0;
  // Whether bumps wait for the store to be back. Never blocks.
  [[nodiscard]] virtual bool pending() const = 0;
  // Whether the store is worth asking: open, and its circuit breaker closed. Never blocks.
  [[nodiscard]] virtual bool available() const = 0;
  struct Failure {
    std::string message;  // for people; no passwords
    Instant at{};
  };
  // The last time that the store could not be asked, since the process began or was forked.
  [[nodiscard]] virtual std::optional<Failure> LastFailure() = 0;
};

// The parts, by settings. Neither touches the store: one that cannot be used, a folder as little as
// a server, is found out by the first call, and is the store being down.
[[nodiscard]] std::unique_ptr<Store> OpenLmdbStore(const Options& options,
                                                   const Clock& clock = Clock::System());
// Why the folder of an embedded store cannot be used, for whoever named it: kInvalidArgument as
// long as nothing is changed about it, kUnavailable just now. Makes the folder.
[[nodiscard]] Status CheckLmdbFolder(const std::string& directory, std::string_view prefix);
struct RedisParts {
  std::unique_ptr<Store> store;
  std::unique_ptr<Backplane> backplane;  // null when !options.start_listener
};
[[nodiscard]] Result<RedisParts> OpenRedis(std::string_view url, const Options& options,
                                           const Clock& clock);
// kInvalidArgument: why the certificates and keys that a URL names cannot be used.
[[nodiscard]] Status CheckRedisTls(std::string_view url);

}  // namespace smartcache
