// Single flight: of all callers of this process who miss one key, one leads and the others wait for
// it. Knows neither the store nor values: who is woken looks again. Thread-safe.
//
// One mutex guards who leads what and who waits for whom, so that joining and looking for circles
// is one step; it is held for a few look-ups, once a miss. A waiter sleeps on a signal of its own,
// so that the woken do not queue for one lock. Callers end their flights: one that is never ended
// stays for ever.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "smartcache/cache.h"
#include "smartcache/clock.h"
#include "smartcache/tag.h"

namespace smartcache {

// How a flight ended, for those who waited.
enum class FlightEnd : std::uint8_t {
  kShared,    // the value is in L1 or the store: look again
  kUnshared,  // there is a value, but not one to share: compute for yourself, without leading
  kFailed,    // computing it came to nothing: somebody else may lead
  kLeft,      // its leader went before it computed: somebody else is to lead
};

class FlightState;

// A leader of this process lives as long as the process, so its waiters wait without a limit, as
// they would for a lock. What can never end is not begun: waiting in a circle (Join), and waiting
// on the thread that leads, which could be another greenlet of it (RanBy).
class Flights {
 public:
  enum class Role : std::uint8_t { kLeader, kWaiter, kReentrant };
  struct Joined {
    Role role;
    std::shared_ptr<FlightState> flight;  // null for kReentrant
  };

  Flights();
  ~Flights();
  // Leads if nobody does. kReentrant: `owner` leads this key itself, or waiting would close a
  // circle of callers waiting for each other. A waiter counts as waiting until Wait returns, the
  // flight ends, or it joins another. Owner 0 is nobody: it is never found in a circle.
  [[nodiscard]] Joined Join(Tag hash, std::string_view key, std::uint64_t owner);
  // A waiter that will not wait after all.
  static void Leave(FlightState& flight, std::uint64_t owner);
  // Ends a flight; wakes the waiters and runs the subscriptions, outside any lock. The first end
  // counts.
  void End(const std::shared_ptr<FlightState>& flight, FlightEnd end);
  // Waits for the end; false after `timeout` (kNever: none), or when `patience` is at its end.
  static bool Wait(FlightState& flight, std::uint64_t owner, Duration timeout, FlightEnd& end,
                   const Patience* patience = nullptr);
  // In a forked child: the leaders are in the parent; forgets them without waking anybody, and
  // leaks what another thread may have been changing. A flight from before ends quietly, and who
  // waits for it is told kFailed at once.
  void AfterFork();

 private:
  friend class FlightState;
  struct Registry;
  std::shared_ptr<Registry> registry_;
};

// One computation under way.
class FlightState final : public Flight {
 public:
  FlightState(std::shared_ptr<Flights::Registry> registry, Tag hash, std::string_view key,
              std::uint64_t owner);
  void Subscribe(std::function<void()> done) override;
  // Whether the leader joined on this thread: who blocks it may block the leader.
  [[nodiscard]] bool RanBy(std::thread::id thread) const { return thread_ == thread; }

 private:
  friend class Flights;
  // False: it has ended, and `done` is left to the caller.
  bool TrySubscribe(std::function<void()>& done);

  const std::shared_ptr<Flights::Registry> registry_;
  const Tag hash_;
  const std::string key_;
  const std::uint64_t owner_;
  const std::thread::id thread_ = std::this_thread::get_id();
  std::atomic<bool> ended_{false};
  std::atomic<FlightEnd> end_{FlightEnd::kFailed};
  // Guarded by the registry's mutex.
  std::vector<std::uint64_t> waiting_owners_;
  std::vector<std::function<void()>> subscriptions_;
};

}  // namespace smartcache
