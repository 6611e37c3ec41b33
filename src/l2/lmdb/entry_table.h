// What the environment of the entries holds, and what has to go when it is full.
//
// An entry is found by 128 bits hashed from its key under random seeds, and begins with its
// deadline and the time it was stored. There is no index by age: as neighbours in the tree are
// unrelated, the oldest of some neighbours at a random place is nearly as old as the oldest of all,
// and costs nothing until it is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "l2/lmdb/control.h"
#include "l2/lmdb/environment.h"
#include "smartcache/clock.h"

namespace smartcache::lmdb {

class EntryTable {
 public:
  EntryTable(std::unique_ptr<Environment> environment, const Layout& layout)
      : environment_(std::move(environment)), layout_(layout) {}
  [[nodiscard]] Environment& environment() { return *environment_; }
  // Larger envelopes are refused: an eighth of the map, less than what is kept free.
  [[nodiscard]] std::size_t max_bytes() const { return layout_.entries_bytes / 8; }

  struct Found {
    std::string_view envelope;  // in the map: good until the transaction is reset
    Instant deadline{};
  };
  // MDB_NOTFOUND when there is none or its time is over.
  [[nodiscard]] int Find(MDB_txn* txn, std::string_view key, Instant now, Found& found) const;
  // Evicts about twice of what it adds when the map is fuller than it should be, so that the work
  // of one write is bounded.
  [[nodiscard]] int Store(MDB_txn* txn, std::string_view key, std::string_view envelope,
                          Instant deadline, Instant now);
  // MDB_NOTFOUND when there was none.
  [[nodiscard]] int Drop(MDB_txn* txn, std::string_view key);
  [[nodiscard]] static int Clear(MDB_txn* txn);
  // After a write that found no room: drops entries without looking at their age, which frees whole
  // pages. Each further `round` more, the last all of them.
  [[nodiscard]] static int MakeRoom(MDB_txn* txn, int round);
  static constexpr int kLastRound = 5;
  static constexpr double kFull = 0.85;

 private:
  struct Key {
    std::uint64_t high, low;
  };
  [[nodiscard]] Key KeyOf(std::string_view key) const;
  // Drops the expired of some neighbours, else the oldest of them; adds their bytes to `freed`.
  [[nodiscard]] static int EvictSome(MDB_txn* txn, Instant now, std::size_t& freed);

  const std::unique_ptr<Environment> environment_;
  const Layout layout_;
};

}  // namespace smartcache::lmdb
