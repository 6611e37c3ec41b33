// A wait of the core, inside of a call without the GIL: whether it goes on, Python says.
#pragma once

#include <nanobind/nanobind.h>

#include "python/ref.h"

namespace smartcache::binding {

// Made and destroyed with the GIL.
class Waiting {
 public:
  // `patience`: a callable that gives whether to wait on, or null: for ever. It outlives this.
  explicit Waiting(PyObject* patience) : patience_(patience) {}
  // As Patience of the core, on the thread that waits. Handlers of signals run here: while the main
  // thread waits, nothing else lets them.
  bool GoesOn();
  // Raises what a handler or `patience` raised.
  void RaiseWhatEndedIt();

 private:
  bool Keep();

  PyObject* patience_;
  Ref raised_;
};

}  // namespace smartcache::binding
