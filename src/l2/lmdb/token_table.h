// What the environment of the tokens holds: tokens, marks, sets of column combinations, locks.
// Functions take the transaction they work in and return LMDB's codes. No state but the
// environment's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "l2/lmdb/environment.h"
#include "smartcache/clock.h"
#include "smartcache/store.h"
#include "smartcache/tag.h"

namespace smartcache::lmdb {

// Whose lock: of an entry's computation, or of the user's own.
enum class LockKind : char { kEntry = 'l', kUser = 'u' };

class TokenTable {
 public:
  explicit TokenTable(std::unique_ptr<Environment> environment)
      : environment_(std::move(environment)) {}
  [[nodiscard]] Environment& environment() { return *environment_; }

  // kNoToken in `reply` when there is none or its time is over.
  [[nodiscard]] static int Find(MDB_txn* txn, Tag tag, Instant now, TokenReply& reply);
  // The present token, created where missing; good for `ttl` at least, and up to twice that, so
  // that most calls need not write: `wrote` is set by those that do. One that is marked ends with
  // the nearest mark.
  [[nodiscard]] static int Mint(MDB_txn* txn, Tag tag, Instant now, Duration ttl, TokenReply& reply,
                                bool& wrote);
  // Whether Mint would have to write.
  [[nodiscard]] static bool NeedsMint(const TokenReply& reply, Duration ttl) {
    return reply.token == kNoToken || reply.ttl < ttl;
  }
  // Not an error when there is none.
  [[nodiscard]] static int Drop(MDB_txn* txn, Tag tag);

  // Marks `tag` until `deadline`.
  [[nodiscard]] static int Mark(MDB_txn* txn, Tag tag, std::uint64_t writer, Instant now,
                                Instant deadline);
  // Takes a writer's mark back. A token that is left lives on for twice `ttl`, or to the nearest of
  // the marks that are left.
  [[nodiscard]] static int Unmark(MDB_txn* txn, Tag tag, std::uint64_t writer, Instant now,
                                  Duration ttl);
  // The nearest deadline of the marks of `tag` that live at `now`; kNever: there are none.
  [[nodiscard]] static int NearestMark(MDB_txn* txn, Tag tag, Instant now, Instant& deadline);
  // Has the token end with the nearest of its marks, sooner or later than before.
  [[nodiscard]] static int EndWithMarks(MDB_txn* txn, Tag tag, Instant now);
  // Has the token end by `deadline`, if there is one.
  [[nodiscard]] static int Shorten(MDB_txn* txn, Tag tag, Instant deadline);

  // `schemes.version` 0: no set.
  [[nodiscard]] static int FindSchemes(MDB_txn* txn, Tag table, Schemes& schemes);
  [[nodiscard]] static int StoreSchemes(MDB_txn* txn, Tag table, const Schemes& schemes);

  // The owner of a lock that is held at `now`, else 0.
  [[nodiscard]] static int FindLock(MDB_txn* txn, LockKind kind, std::uint64_t id, Instant now,
                                    std::uint64_t& owner, Instant& deadline);
  [[nodiscard]] static int StoreLock(MDB_txn* txn, LockKind kind, std::uint64_t id,
                                     std::uint64_t owner, Instant deadline);
  [[nodiscard]] static int DropLock(MDB_txn* txn, LockKind kind, std::uint64_t id);

  // Everything but the locks and marks.
  [[nodiscard]] static int Clear(MDB_txn* txn);
  // Makes room: drops what has expired in a random stretch, and if the map is fuller than it should
  // be, tokens too (whoever misses one gets a miss). Each further `round` more; the last drops all
  // tokens.
  [[nodiscard]] static int MakeRoom(MDB_txn* txn, Instant now, int round);
  static constexpr int kLastRound = 4;
  // A map fuller than this is made room in before it is written to.
  static constexpr double kFull = 0.85;

 private:
  const std::unique_ptr<Environment> environment_;
};

}  // namespace smartcache::lmdb
