#include "cache/keeper.h"

#include <utility>
#include <vector>

#include "base/thread.h"

namespace smartcache {

struct Keeper::State : StoppableThread {
  std::list<Held> held GUARDED_BY(mutex);
};

Keeper::Keeper(Store& store, Duration lease)
    : store_(store), lease_(lease), state_(std::make_unique<State>()) {}

Keeper::~Keeper() { Stop(); }

Keeper::Handle Keeper::Add(std::string_view key, std::uint64_t owner) {
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.held.push_front({std::string(key), owner});
  if (!state.thread.joinable() && !state.stopping) {
    // Where there is no thread to be had, locks are not renewed until a later one is added.
    state.thread = StartThread("smartcache-lock", [this, &state] { Run(state); });
  }
  return {&state, state.held.begin()};
}

void Keeper::Remove(Handle& handle) {
  if (std::exchange(handle.state, nullptr) != state_.get()) return;
  const MutexLock lock(state_->mutex);
  state_->held.erase(handle.held);
}

void Keeper::Run(State& state) {
  const auto pause = lease_ / kRenewalsPerLease;
  std::vector<Held> due;
  while (true) {
    {
      const MutexLock lock(state.mutex);
      if (state.stopping) return;
      state.changed.wait_for(state.mutex, pause);
      if (state.stopping) return;
      due.assign(state.held.begin(), state.held.end());
    }
    // A lock that cannot be renewed is lost, which costs a second computation and no correctness:
    // tokens decide what may be stored.
    for (const auto& held : due) (void)store_.RenewLock(held.key, held.owner, lease_);
  }
}

void Keeper::Stop() { state_->Stop(); }

void Keeper::AfterFork() {
  (void)state_.release();
  state_ = std::make_unique<State>();
}

}  // namespace smartcache
