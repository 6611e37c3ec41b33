// L2: where entries, tokens, schemes and locks are kept for all processes. Redis or LMDB, and an
// in-memory one for tests. Thread-safe; every call may block up to the store's timeout, so none is
// made under a lock. kUnavailable means that the store could not be asked or that its answer is
// unknown.
//
// Invariants every implementation keeps:
//   A token is random, never used twice for a tag, and missing tokens are created anew (Mint).
//   Bump removes tokens before it returns, and announces them to all listening processes.
//   Tokens live for `token_ttl` to twice that, counted from the last Mint or Begin that gave them.
//   No token of a tag outlives the nearest deadline of the tag's marks: not the one that was there
//   when the tag was marked, which is announced as well, nor one created later (spec/marks.py).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smartcache/clock.h"
#include "smartcache/result.h"
#include "smartcache/tag.h"

namespace smartcache {

struct TokenReply {
  Token token = kNoToken;  // kNoToken: the store has none (Get, Tokens)
  Duration ttl = kNever;   // how long it may be trusted, counted from Reply::sent
};

// Common to all replies from which something may be kept.
struct Reply {
  Instant sent{};           // when the request left this process
  std::uint64_t epoch = 0;  // state of the store that answered
  std::uint64_t stamp = 0;  // embedded: its change counter, read before the data; else 0
};

struct StoredEntry {
  std::string envelope;
  Duration ttl = kNever;  // remaining, counted from Reply::sent
};

struct GetReply : Reply {
  std::optional<StoredEntry> entry;
  std::vector<TokenReply> tokens;  // one for each tag asked, in order
};

struct TokensReply : Reply {
  std::vector<TokenReply> tokens;
};

// A column combination of a table by which entries hold condition tags: "country_id,kind".
struct SchemeRequest {
  Tag table = 0;           // t:T
  Tag condition_bulk = 0;  // q:T, dropped together with the creation of a missing set
  std::string columns;
};

struct BeginReply : Reply {
  bool locked = false;   // this caller holds the lock, or none was asked
  TokenReply key_token;  // of the entry's own key
  std::optional<StoredEntry>
      entry;  // what lay there when the lock was tried: somebody may have filled it
};

// What a writer knows of a table's registered column combinations.
struct SchemeKnowledge {
  Tag table = 0;
  Tag condition_bulk = 0;
  std::uint64_t version = 0;  // 0: knows nothing
};

struct Schemes {
  std::uint64_t version = 0;  // 0: the store has no set
  std::vector<std::string> columns;
};

// A writer's marks: what it was about to commit.
struct Marks {
  std::uint64_t writer = 0;  // random for each transaction or statement; 0: none
  std::span<const Tag> tags;
};

struct BumpReply : Reply {
  std::vector<Schemes> schemes;  // one for each SchemeKnowledge, as they are after the bump
  std::vector<Tag> also_bumped;  // condition_bulk tags of tables whose set is not the one known
};

// Whatever lies under the key counts as present, also what no reader would take for fresh.
enum class PutCondition : std::uint8_t { kAlways, kIfAbsent, kIfPresent };

struct PutReply : Reply {
  bool stored = false;  // false: the condition did not hold
};

struct FillRequest {
  std::string_view key;
  std::string_view envelope;  // empty: store nothing, only release the lock
  Duration ttl = kNever;
  Token key_token = kNoToken;    // stored only while this is the token of the key's own tag
  std::uint64_t lock_owner = 0;  // released when not 0 and still held, waking the waiters
};

class Store {
 public:
  virtual ~Store() = default;

  // --- reads
  // The entry and the present tokens of `tags` (those the caller believes the entry has) in one
  // round trip. `entry` is nullopt for a miss.
  virtual Result<GetReply> Get(std::string_view key, std::span<const Tag> tags) = 0;
  // Several entries without tokens, each as of one moment.
  virtual Result<std::vector<GetReply>> GetMany(std::span<const std::string> keys) = 0;
  // Present tokens; kNoToken where there is none.
  virtual Result<TokensReply> Tokens(std::span<const Tag> tags) = 0;

  // --- computing
  // Present tokens, created where missing, after the schemes have been registered.
  virtual Result<TokensReply> Mint(std::span<const Tag> tags,
                                   std::span<const SchemeRequest> schemes) = 0;
  // Mints the token of the key's own tag; tries the lock for `lease` when lock_owner is not 0;
  // reads the entry again. One round trip.
  virtual Result<BeginReply> Begin(std::string_view key, std::uint64_t lock_owner,
                                   Duration lease) = 0;
  // Stores a computed entry, atomically with the look at the key's token, and releases the lock.
  // False: the token has changed (or is gone), so nothing was stored.
  virtual Result<bool> Fill(const FillRequest& request) = 0;
  // Prolongs a held lock; false when it is no longer this owner's.
  virtual Result<bool> RenewLock(std::string_view key, std::uint64_t lock_owner,
                                 Duration lease) = 0;
  // Waits until the lock of `key` is free, at most `timeout`. Returns at once when it is free
  // already. False: the time is over and the lock still held.
  virtual Result<bool> AwaitUnlock(std::string_view key, Duration timeout) = 0;

  // --- writes
  // Says, before the database is told to commit, what a writer is about to change, should it die
  // before it bumps. The marks end with `lease`; marking again renews them. Condition-bulk tags are
  // marked with their tables, and their tokens end with the lease where the table's set is not the
  // one known: a scheme registered from now on finds the mark. One round trip per bucket group.
  virtual Status Mark(std::uint64_t writer, Duration lease, std::span<const Tag> tags,
                      std::span<const SchemeKnowledge> schemes) = 0;
  // Drops the tokens, compares the schemes, announces all of it. Takes marks back, of tags that are
  // bumped and of others, whose tokens then live on. One round trip per bucket group.
  virtual Result<BumpReply> Bump(std::span<const Tag> tags,
                                 std::span<const SchemeKnowledge> schemes, const Marks& marks) = 0;
  Result<BumpReply> Bump(std::span<const Tag> tags, std::span<const SchemeKnowledge> schemes) {
    return Bump(tags, schemes, {});
  }
  // An explicit store by the user: replaces the entry, drops the token of the key's own tag,
  // announces it. The reply's epoch tells the caller whether the one in the envelope is the
  // store's. kTooLarge: not stored, and what was there is dropped.
  virtual Result<PutReply> Put(std::string_view key, std::string_view envelope, Duration ttl,
                               PutCondition condition) = 0;
  // Deletes entries and the tokens of their own tags, announces them. Returns how many entries
  // there were.
  virtual Result<std::size_t> Delete(std::span<const std::string> keys) = 0;
  // Sets the remaining time to live; false when there is no such entry.
  virtual Result<bool> Touch(std::string_view key, Duration ttl) = 0;
  // Drops everything under this prefix (entries, tokens, schemes; locks and marks stay), announces
  // it to all.
  virtual Status Clear() = 0;

  // --- a lock of the user's own (cache_lock): never mixed with the locks of entries.
  virtual Result<bool> TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) = 0;
  virtual Result<bool> UserUnlock(std::string_view name, std::uint64_t owner) = 0;

  // --- state
  // Embedded stores: a counter that changes with every bump by any process, one memory load; slots
  // read at a value are good while it stays. 0 means "cannot be trusted". Others return nullopt.
  virtual std::optional<std::uint64_t> ChangeCounter() { return std::nullopt; }
  // Whether calls are worth making: false while a circuit breaker is open. Never blocks.
  virtual bool Available() = 0;
  // Drops sockets, threads and maps without touching the parent's; called in a forked child.
  virtual void AfterFork() = 0;
  // One line for people: "redis://127.0.0.1:6379/0", "lmdb:/tmp/djsmartcache-1000/…". No
  // passwords.
  [[nodiscard]] virtual std::string Describe() const = 0;
};

}  // namespace smartcache
