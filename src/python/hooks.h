// What the package lends to the binding at configure, and the state of the process that every call
// looks at. Guarded by the GIL.
#pragma once

#include <Python.h>

#include <atomic>

#include "smartcache/cache.h"

namespace smartcache::binding {

struct Hooks {
  PyObject* dumps = nullptr;     // value -> (bytes, codec)
  PyObject* loads = nullptr;     // bytes, codec -> value
  PyObject* model_of = nullptr;  // label -> class
  PyObject* label_of = nullptr;  // class -> label or None
  PyObject* prefix = nullptr;    // bytes, or a callable that returns them; null: nothing
};
extern Hooks hooks;

struct Process {
  Cache* cache = nullptr;  // null before configure and after close; owned by the CacheHandle in use
  bool keeps_local = false;  // L1 has room at all
  bool enabled = true;
  long contexts = 0;  // under way; see context.h
  // Whether a call may be answered from L1 without asking Python.
  [[nodiscard]] bool answers() const { return cache != nullptr && enabled && contexts == 0; }
};
extern Process process;

}  // namespace smartcache::binding
