// The callable that serves L1 hits: a hand-written type, because a hit costs less than the
// machinery of a binding library. Added to the module by module.cpp.
#pragma once

#include <Python.h>

#include "python/py_key.h"

namespace smartcache::binding {

// Gets the plan out of a Python KeyPlan; null with a TypeError if it is none. Set by module.cpp.
extern const KeyPlan* (*plan_of)(PyObject* object);

// Adds CachedFunction to `module`. False with an exception.
[[nodiscard]] bool AddCachedFunction(PyObject* module);

}  // namespace smartcache::binding
