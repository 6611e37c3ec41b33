// A coroutine that has finished before it began: what a hit of a cached coroutine function returns.
#pragma once

#include <Python.h>

namespace smartcache::binding {

[[nodiscard]] bool ReadyReadyValue();
// Steals `value`; new reference, or null with an exception (also when `value` is null).
[[nodiscard]] PyObject* MakeReadyValue(PyObject* value);

}  // namespace smartcache::binding
