// Renews locks of computations and marks of writers under way, so that a lease can be short (a dead
// owner costs the others one lease) and what it is held for long; and releases locks that could not
// be released when their computation ended. One thread, started with the first thing it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "smartcache/clock.h"
#include "smartcache/store.h"

namespace smartcache {

class Keeper {
 public:
  using Renew = std::function<void()>;
  struct Held {
    Renew renew;
    Instant since;
  };
  struct State;
  struct Handle {
    State* state = nullptr;
    std::list<Held>::iterator held;
  };

  // `lease`: of the locks; `shortest`: of all that it renews.
  Keeper(Store& store, Duration lease, Duration shortest);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Has `renew` called now and then, for the first time after a pause: what is over soon is not
  // renewed. Once more perhaps while its handle is being removed.
  [[nodiscard]] Handle Add(Renew renew);
  // The lock of `key`.
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
  static constexpr int kRenewalsPerLease = 4;
  // Between attempts to release a lock.
  static constexpr Duration kReleasePause = std::chrono::milliseconds(50);
  void Run(State& state);
  void RenewHeld(State& state);
  void ReleaseLeft(State& state);

  Store& store_;
  const Duration lease_;
  const Duration pause_;
  // Left behind in a forked child, where another thread of the parent may have held its mutex.
  std::unique_ptr<State> state_;
};

}  // namespace smartcache
