// A CachedFunction taken from an instance: calls with the instance first, and hands out handles
// (invalidate, refresh, ..) with the instance bound as well.
#pragma once

#include <Python.h>

namespace smartcache::binding {

[[nodiscard]] bool ReadyBoundFunction();
// New reference.
[[nodiscard]] PyObject* BindFunction(PyObject* function, PyObject* self);

}  // namespace smartcache::binding
