// How the core starts threads of its own.
#pragma once

#include <functional>
#include <thread>

namespace smartcache {

// A thread called `name` (at most 15 letters) with all signals blocked: handlers are the program's
// affair. Not joinable when the system gives no thread, which is to be tried again later.
[[nodiscard]] std::thread StartThread(const char* name, std::function<void()> run);

}  // namespace smartcache
