// Contexts in which calls must not be answered from L1 without asking Python: computations being
// recorded, transactions that wrote, smartcache_disabled blocks. Guarded by the GIL.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

namespace smartcache::binding {

namespace nb = nanobind;

class Context {
 public:
  Context();
  ~Context() { End(); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  // Ends it once, on any thread.
  void End();

 private:
  struct Tally;
  static std::shared_ptr<Tally>& Own();
  friend void KeepOwnContexts();

  std::shared_ptr<Tally> tally_;  // none: ended
};

// In a forked child: only what the thread that forked has begun is still under way.
void KeepOwnContexts();

void AddContext(nb::module_& module);

}  // namespace smartcache::binding
