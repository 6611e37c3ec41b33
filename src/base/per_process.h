// A T of this process: made at first use, and made anew in a forked child, where the parent's is
// neither touched nor freed (its mutexes may be held by threads that the child does not have).
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/forks.h"

namespace smartcache {

template <class T>
class PerProcess {
 public:
  PerProcess() = default;
  PerProcess(const PerProcess&) = delete;
  PerProcess& operator=(const PerProcess&) = delete;
  ~PerProcess() {
    Cell* const cell = cell_.load();
    if (cell != nullptr && IsOurs(*cell)) delete cell;
  }

  T& Get() {
    Cell* const cell = cell_.load(std::memory_order_acquire);
    return cell != nullptr && IsOurs(*cell) ? cell->value : Renew(cell);
  }
  // Null where Get would have to make one. Never blocks.
  T* Peek() {
    Cell* const cell = cell_.load(std::memory_order_acquire);
    return cell != nullptr && IsOurs(*cell) ? &cell->value : nullptr;
  }

 private:
  struct Cell {
    std::uint64_t fork = Forks();
    T value;
    Cell* inherited = nullptr;  // keeps what was left alone reachable
  };
  static bool IsOurs(const Cell& cell) { return cell.fork == Forks(); }
  T& Renew(Cell* present) {
    auto* const fresh = new Cell;
    fresh->inherited = present;
    while (!cell_.compare_exchange_strong(present, fresh)) {
      if (IsOurs(*present)) {  // another thread of ours was quicker
        delete fresh;
        return present->value;
      }
      fresh->inherited = present;
    }
    return fresh->value;
  }

  std::atomic<Cell*> cell_{nullptr};
};

}  // namespace smartcache
