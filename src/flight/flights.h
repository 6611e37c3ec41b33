// Single flight: of all callers of this process who miss one key, one leads and the others wait for it.
// Knows neither the store nor values: who is woken looks again. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mutex.h"
#include "smartcache/cache.h"
#include "smartcache/clock.h"
#include "smartcache/tag.h"

namespace smartcache {

// How a flight ended, for those who waited.
enum class FlightEnd : std::uint8_t {
  kShared,   // the value is in L1 or the store: look again
  kUnshared, // there is a value, but not one to share: compute for yourself, without leading
  kFailed,   // no value: somebody else may lead
};

class FlightState;  // a Flight

class Flights {
 public:
  enum class Role : std::uint8_t { kLeader, kWaiter, kReentrant };
  struct Joined {
    Role role;
    std::shared_ptr<FlightState> flight;  // null for kReentrant
  };
  // Leads if nobody does. kReentrant: `owner` leads this key itself, or waiting would close a circle of
  // callers waiting for each other.
  Joined Join(Tag hash, std::string_view key, std::uint64_t owner);
  // Ends a flight; wakes the waiters and runs the subscriptions, outside any lock.
  void End(const std::shared_ptr<FlightState>& flight, FlightEnd end);
  // Waits for the end; false after `timeout` (kNever: none).
  static bool Wait(FlightState& flight, std::uint64_t owner, Duration timeout, FlightEnd& end);
  // The key was changed while a flight computes it: what it brings must not be kept in L1.
  void Overtake(Tag hash);
  void OvertakeAll();
  [[nodiscard]] static bool Overtaken(const FlightState& flight);
  // In a forked child: the leaders are in the parent; forget them without waking anybody.
  void AfterFork();
};

}  // namespace smartcache
