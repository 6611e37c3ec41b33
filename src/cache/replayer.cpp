#include "cache/replayer.h"

#include <utility>

#include "base/thread.h"

namespace smartcache {

struct Replayer::State : StoppableThread {
  bool running GUARDED_BY(mutex) = false;
  bool woken GUARDED_BY(mutex) = false;  // something may have become pending since the last attempt
};

Replayer::Replayer(std::function<bool()> replay, Duration pause)
    : replay_(std::move(replay)), pause_(pause), state_(std::make_unique<State>()) {}

Replayer::~Replayer() { Stop(); }

void Replayer::Wake() {
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.woken = true;
  if (state.running || state.stopping) return;
  if (state.thread.joinable()) state.thread.join();  // it has nothing left to do but end
  // Where there is no thread to be had, the next change or read tries.
  state.thread = StartThread("smartcache-late", [this, &state] { Run(state); });
  state.running = state.thread.joinable();
}

void Replayer::Run(State& state) {
  while (true) {
    {
      const MutexLock lock(state.mutex);
      if (!state.stopping) state.changed.wait_for(state.mutex, pause_);
      if (state.stopping) return;
      state.woken = false;
    }
    const bool done = replay_();
    const MutexLock lock(state.mutex);
    if (!done || state.woken) continue;
    state.running = false;
    return;
  }
}

void Replayer::Stop() { state_->Stop(); }

void Replayer::AfterFork() {
  (void)state_.release();
  state_ = std::make_unique<State>();
}

}  // namespace smartcache
