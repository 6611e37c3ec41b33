#include "flight/flights.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "base/leave_behind.h"
#include "base/mutex.h"

namespace smartcache {

namespace {

// Longer waits are waits without an end: a deadline computed from them would overflow.
constexpr Duration kLongestTimeout = std::chrono::hours(24 * 365);

// What one waiter sleeps on.
class Signal {
 public:
  void Set() {
    const MutexLock lock(mutex_);
    set_ = true;
    changed_.notify_one();
  }
  bool Await(Duration timeout) NO_THREAD_SAFETY_ANALYSIS {
    const MutexLock lock(mutex_);
    const auto is_set = [this]() NO_THREAD_SAFETY_ANALYSIS { return set_; };
    if (timeout < kLongestTimeout) return changed_.wait_for(mutex_, timeout, is_set);
    changed_.wait(mutex_, is_set);
    return true;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool set_ GUARDED_BY(mutex_) = false;
};

}  // namespace

// Shared by its flights, which may outlive the Flights object.
struct Flights::Registry {
  // Set in a forked child before anything else is done with flights: the mutex may be locked for
  // ever and the rest be half-changed.
  std::atomic<bool> left_behind{false};
  Mutex mutex;
  std::unordered_multimap<Tag, std::shared_ptr<FlightState>> flights GUARDED_BY(mutex);
  std::unordered_map<std::uint64_t, FlightState*> awaited
      GUARDED_BY(mutex);  // by the waiting owner

  std::shared_ptr<FlightState>* FindFlight(Tag hash, std::string_view key) REQUIRES(mutex) {
    const auto [first, last] = flights.equal_range(hash);
    const auto found =
        std::find_if(first, last, [key](const auto& other) { return other.second->key_ == key; });
    return found == last ? nullptr : &found->second;
  }
  void StopAwaiting(std::uint64_t owner, const FlightState& flight) REQUIRES(mutex) {
    const auto found = awaited.find(owner);
    if (found != awaited.end() && found->second == &flight) awaited.erase(found);
  }
  // Whether the leader of `flight` is `owner`, or waits for a flight whose leader is, and so on.
  bool LeadsBackTo(std::uint64_t owner, const FlightState& flight) const REQUIRES(mutex) {
    const FlightState* at = &flight;
    // Each step is another waiting owner, so there are at most as many steps as those.
    for (std::size_t steps = 0; steps <= awaited.size(); ++steps) {
      if (at->owner_ == owner) return true;
      const auto next = awaited.find(at->owner_);
      if (next == awaited.end()) return false;
      at = next->second;
    }
    return false;
  }
};

FlightState::FlightState(std::shared_ptr<Flights::Registry> registry, Tag hash,
                         std::string_view key, std::uint64_t owner)
    : registry_(std::move(registry)), hash_(hash), key_(key), owner_(owner) {}

bool FlightState::TrySubscribe(std::function<void()>& done) {
  if (registry_->left_behind.load(std::memory_order_acquire)) return false;
  const MutexLock lock(registry_->mutex);
  if (ended_.load(std::memory_order_relaxed)) return false;
  subscriptions_.push_back(std::move(done));
  return true;
}

void FlightState::Subscribe(std::function<void()> done) {
  if (!TrySubscribe(done)) done();
}

Flights::Flights() : registry_(std::make_shared<Registry>()) {}

Flights::~Flights() {
  // Flights and registry refer to each other.
  if (registry_->left_behind.load(std::memory_order_relaxed)) return;
  std::unordered_multimap<Tag, std::shared_ptr<FlightState>> unfinished;
  const MutexLock lock(registry_->mutex);
  unfinished.swap(registry_->flights);
}

Flights::Joined Flights::Join(Tag hash, std::string_view key, std::uint64_t owner) {
  Registry& registry = *registry_;
  const MutexLock lock(registry.mutex);
  // Who asks is not waiting any more, whatever it subscribed to before.
  if (owner != 0) registry.awaited.erase(owner);
  if (const auto* found = registry.FindFlight(hash, key)) {
    FlightState& flight = **found;
    if (owner == 0) return {Role::kWaiter, *found};
    if (registry.LeadsBackTo(owner, flight)) return {Role::kReentrant, nullptr};
    registry.awaited[owner] = &flight;
    flight.waiting_owners_.push_back(owner);
    return {Role::kWaiter, *found};
  }
  auto flight = std::make_shared<FlightState>(registry_, hash, key, owner);
  registry.flights.emplace(hash, flight);
  return {Role::kLeader, std::move(flight)};
}

void Flights::End(const std::shared_ptr<FlightState>& flight, FlightEnd end) {
  Registry& registry = *flight->registry_;
  if (registry.left_behind.load(std::memory_order_acquire)) return;
  std::vector<std::function<void()>> subscriptions;
  {
    const MutexLock lock(registry.mutex);
    if (flight->ended_.load(std::memory_order_relaxed)) return;
    flight->end_.store(end, std::memory_order_relaxed);
    flight->ended_.store(true, std::memory_order_release);
    subscriptions.swap(flight->subscriptions_);
    for (const std::uint64_t owner : flight->waiting_owners_) registry.StopAwaiting(owner, *flight);
    const auto [first, last] = registry.flights.equal_range(flight->hash_);
    const auto found =
        std::find_if(first, last, [&flight](const auto& other) { return other.second == flight; });
    if (found != last) registry.flights.erase(found);
  }
  for (const auto& done : subscriptions) done();
}

void Flights::Leave(FlightState& flight, std::uint64_t owner) {
  Registry& registry = *flight.registry_;
  if (owner == 0 || registry.left_behind.load(std::memory_order_acquire)) return;
  const MutexLock lock(registry.mutex);
  registry.StopAwaiting(owner, flight);
  std::erase(flight.waiting_owners_, owner);
}

bool Flights::Wait(FlightState& flight, std::uint64_t owner, Duration timeout, FlightEnd& end,
                   const Patience* patience) {
  Registry& registry = *flight.registry_;
  const auto signal = std::make_shared<Signal>();
  std::function<void()> done = [signal] { signal->Set(); };
  bool ended = !flight.TrySubscribe(done);
  for (Duration left = timeout; !ended;) {
    const Duration span = patience == nullptr ? left : std::min(left, kPatience);
    ended = signal->Await(span);
    if (left != kNever) left -= span;
    if (left <= Duration::zero() || (!ended && patience != nullptr && !(*patience)())) break;
  }
  if (!ended) {
    Leave(flight, owner);
    const MutexLock lock(registry.mutex);
    if (!flight.ended_.load(std::memory_order_relaxed)) return false;
  }
  end = flight.end_.load(std::memory_order_relaxed);
  return true;
}

void Flights::AfterFork() {
  auto fresh = std::make_shared<Registry>();
  registry_->left_behind.store(true, std::memory_order_release);
  LeaveBehind(std::exchange(registry_, std::move(fresh)));
}

}  // namespace smartcache
