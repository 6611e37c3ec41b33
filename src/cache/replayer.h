// Sends what is pending as soon as the store is back, without waiting for somebody to read: who
// only wrote while it was down would leave the others with stale answers. One thread, which runs
// only while something is pending.
#pragma once

#include <functional>
#include <memory>

#include "smartcache/clock.h"

namespace smartcache {

class Replayer {
 public:
  // `replay` tries once, and is true when nothing is pending any more.
  Replayer(std::function<bool()> replay, Duration pause);
  ~Replayer();
  Replayer(const Replayer&) = delete;
  Replayer& operator=(const Replayer&) = delete;

  // To be called after something has been made pending. Never blocks on the store.
  void Wake();
  // Ends the thread, after the attempt under way.
  void Stop();
  // In a forked child: the thread, and what is pending, are the parent's.
  void AfterFork();

 private:
  struct State;
  void Run(State& state);

  const std::function<bool()> replay_;
  const Duration pause_;
  // Left behind in a forked child, where another thread of the parent may have held its mutex.
  std::unique_ptr<State> state_;
};

}  // namespace smartcache
