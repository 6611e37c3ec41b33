// Marks that stand: a process that writes to a table again and again does not mark each write, but
// the table, for as long as it goes on, and renews that now and then. So the way of a write costs
// no round trip before its COMMIT. Every entry of a table carries one of the table's coarse tags,
// which are marked: should the process die, all of them end with the lease.
//
// A mark is relied on while half of its lease is left by this process' clock, and taken back when
// nothing has been written for a while; writers that take longer have marks of their own by then.
// What may be wrong with it (a COMMIT of unknown outcome, a bump that could not be sent, a lost
// listener) forsakes it: nobody renews it, and the next write places another. Thread-safe.
// (spec/standing.py)
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/per_process.h"
#include "cache/keeper.h"
#include "smartcache/cache.h"
#include "smartcache/clock.h"
#include "smartcache/store.h"

namespace smartcache {

class Standing {
 public:
  Standing(Store& store, const Clock& clock, Keeper& keeper, Duration lease);
  Standing(const Standing&) = delete;
  Standing& operator=(const Standing&) = delete;

  // Whether all of these tables are marked for long enough. No I/O.
  [[nodiscard]] bool Covers(std::span<const CoarseTags> tables);
  // Marks those that are not: one round trip for each.
  [[nodiscard]] Status Place(std::span<const CoarseTags> tables);
  // Leaves all marks to their leases. No I/O.
  void Forsake();
  // Takes all of them back. To be called when nobody writes any more, and the keeper has stopped.
  void TakeBack();

 private:
  struct Mark {
    CoarseTags tags;
    std::uint64_t writer = 0;  // a new one each time: what takes it back may arrive late
    Instant renewed{};         // taken before it was sent
    Instant used{};
  };
  struct State {
    Mutex mutex;
    std::unordered_map<Tag, Mark> marks GUARDED_BY(mutex);
    std::atomic<bool> kept{false};  // the keeper calls Renew
  };
  // After so many leases without a write a mark is taken back.
  static constexpr int kIdleLeases = 3;

  void Renew();
  [[nodiscard]] Status Send(const Mark& mark);
  void Withdraw(const Mark& mark);

  Store& store_;
  const Clock& clock_;
  Keeper& keeper_;
  const Duration lease_;
  PerProcess<State> state_;
};

}  // namespace smartcache
