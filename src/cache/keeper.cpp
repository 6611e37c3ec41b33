#include "cache/keeper.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/thread.h"

namespace smartcache {
namespace {

// The thread's pauses are real, whatever clock the store has.
Instant Now() { return Clock::System().Now(); }

}  // namespace

struct Keeper::State : StoppableThread {
  // A lock whose computation has ended.
  struct Left {
    std::string key;
    std::uint64_t owner;
    Instant until;  // the end of its lease
  };

  void Start(Keeper& keeper) REQUIRES(mutex) {
    if (thread.joinable() || stopping) return;
    // Where there is no thread to be had, nothing is renewed or released until there is more to do.
    thread = StartThread("smartcache-lock", [this, &keeper] { keeper.Run(*this); });
  }

  std::list<Held> held GUARDED_BY(mutex);
  std::vector<Left> left GUARDED_BY(mutex);
};

Keeper::Keeper(Store& store, Duration lease)
    : store_(store), lease_(lease), state_(std::make_unique<State>()) {}

Keeper::~Keeper() { Stop(); }

Keeper::Handle Keeper::Add(std::string_view key, std::uint64_t owner) {
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.held.push_front({std::string(key), owner});
  state.Start(*this);
  return {&state, state.held.begin()};
}

void Keeper::Release(std::string_view key, std::uint64_t owner) {
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.left.push_back({std::string(key), owner, After(Now(), lease_)});
  state.Start(*this);
  state.changed.notify_all();
}

void Keeper::Remove(Handle& handle) {
  if (std::exchange(handle.state, nullptr) != state_.get()) return;
  const MutexLock lock(state_->mutex);
  state_->held.erase(handle.held);
}

void Keeper::Run(State& state) {
  const auto pause = lease_ / kRenewalsPerLease;
  Instant renewed = Now();
  while (true) {
    {
      const MutexLock lock(state.mutex);
      if (state.stopping) return;
      state.changed.wait_for(state.mutex, state.left.empty() ? pause : kReleasePause);
      if (state.stopping) return;
    }
    ReleaseLeft(state);
    if (Now() - renewed < pause) continue;
    renewed = Now();
    RenewHeld(state);
  }
}

void Keeper::RenewHeld(State& state) {
  std::vector<Held> due;
  {
    const MutexLock lock(state.mutex);
    due.assign(state.held.begin(), state.held.end());
  }
  // A lock that cannot be renewed is lost, which costs a second computation and no correctness:
  // tokens decide what may be stored.
  for (const auto& held : due) (void)store_.RenewLock(held.key, held.owner, lease_);
}

void Keeper::ReleaseLeft(State& state) {
  std::vector<State::Left> due;
  {
    const MutexLock lock(state.mutex);
    due.swap(state.left);
  }
  std::erase_if(due, [this](const State::Left& left) {
    if (Now() >= left.until) return true;
    if (!store_.Available()) return false;
    FillRequest release;
    release.key = left.key;
    release.lock_owner = left.owner;
    return store_.Fill(release).ok();
  });
  if (due.empty()) return;
  const MutexLock lock(state.mutex);
  state.left.insert(state.left.end(), due.begin(), due.end());
}

void Keeper::Stop() { state_->Stop(); }

void Keeper::AfterFork() {
  (void)state_.release();
  state_ = std::make_unique<State>();
}

}  // namespace smartcache
