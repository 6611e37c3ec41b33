// How the core starts threads of its own.
#pragma once

#include <functional>
#include <thread>

#include "base/mutex.h"

namespace smartcache {

// A thread called `name` (at most 15 letters) with all signals blocked: handlers are the program's
// affair. Not joinable when the system gives no thread, which is to be tried again later.
[[nodiscard]] std::thread StartThread(const char* name, std::function<void()> run);

// A thread that waits on `changed` between its rounds, and ends where it finds `stopping`. What
// else it works with its owner keeps beside it, under the same mutex.
struct StoppableThread {
  // Ends the thread after the round under way, and waits for that. None is to be started
  // afterwards.
  void Stop();

  Mutex mutex;
  CondVar changed;
  bool stopping GUARDED_BY(mutex) = false;
  std::thread thread GUARDED_BY(mutex);
};

}  // namespace smartcache
