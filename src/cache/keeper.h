// Renews the locks of computations under way, so that a lock's lease can be short (a dead owner
// costs the waiters one lease) and a computation long; and releases those that could not be
// released when their computation ended. One thread, started with the first lock it is given.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "smartcache/clock.h"
#include "smartcache/store.h"

namespace smartcache {

class Keeper {
 public:
  struct Held {
    std::string key;
    std::uint64_t owner;
  };
  struct State;
  struct Handle {
    State* state = nullptr;
    std::list<Held>::iterator held;
  };

  Keeper(Store& store, Duration lease);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  [[nodiscard]] Handle Add(std::string_view key, std::uint64_t owner);
  // Releases it as soon as the store can be asked, unless its lease ends before.
  void Release(std::string_view key, std::uint64_t owner);
  // Empties the handle. Does nothing for an empty one, and for one from before a fork.
  void Remove(Handle& handle);
  void Stop();
  // In a forked child: the thread and the locks are the parent's.
  void AfterFork();

 private:
  // Two renewals may fail before a lease is lost.
  static constexpr int kRenewalsPerLease = 3;
  // Between attempts to release a lock.
  static constexpr Duration kReleasePause = std::chrono::milliseconds(50);
  void Run(State& state);
  void RenewHeld(State& state);
  void ReleaseLeft(State& state);

  Store& store_;
  const Duration lease_;
  // Left behind in a forked child, where another thread of the parent may have held its mutex.
  std::unique_ptr<State> state_;
};

}  // namespace smartcache
