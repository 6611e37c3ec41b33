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

Keeper::Keeper(Store& store, Duration lease, Duration shortest)
    : store_(store),
      lease_(lease),
      pause_(shortest / kRenewalsPerLease),
      state_(std::make_unique<State>()) {}

Keeper::~Keeper() { Stop(); }

Keeper::Handle Keeper::Add(Renew renew) {
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.held.push_front({std::move(renew), Now()});
  state.Start(*this);
  return {&state, state.held.begin()};
}

Keeper::Handle Keeper::Add(std::string_view key, std::uint64_t owner) {
  // A lock that cannot be renewed is lost, which costs a second computation and no correctness:
  // tokens decide what may be stored.
  return Add([this, key = std::string(key), owner] { (void)store_.RenewLock(key, owner, lease_); });
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
  std::list<Held> removed;  // destroyed without the mutex
  const MutexLock lock(state_->mutex);
  removed.splice(removed.begin(), state_->held, handle.held);
}

void Keeper::Run(State& state) {
  Instant renewed = Now();
  while (true) {
    {
      const MutexLock lock(state.mutex);
      if (state.stopping) return;
      state.changed.wait_for(state.mutex, state.left.empty() ? pause_ : kReleasePause);
      if (state.stopping) return;
    }
    ReleaseLeft(state);
    if (Now() - renewed < pause_) continue;
    renewed = Now();
    RenewHeld(state);
  }
}

void Keeper::RenewHeld(State& state) {
  std::vector<Renew> due;
  {
    const MutexLock lock(state.mutex);
    const Instant now = Now();
    for (const Held& held : state.held) {
      if (now - held.since >= pause_) due.push_back(held.renew);
    }
  }
  for (const Renew& renew : due) renew();
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
