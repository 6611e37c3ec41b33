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
  PyObject* fenced = nullptr;    // () -> whether slots prove as much as is asked of this read
};
extern Hooks hooks;

struct Process {
  Cache* cache = nullptr;  // null before configure and after close; owned by the CacheHandle in use
  bool keeps_local = false;  // L1 has room at all
  bool enabled = true;
  long contexts = 0;    // under way; see context.h
  bool strict = false;  // every read asks `fenced`
  long fences = 0;      // blocks open in which reads do
  [[nodiscard]] bool asks_fenced() const { return strict || fences != 0; }
  // Whether a call may be answered from L1 without asking Python.
  [[nodiscard]] bool answers() const { return cache != nullptr && enabled && contexts == 0; }
};
extern Process process;

// What is to prove an entry of L1 fresh for the read that begins. May wait for the server, and
// throw what the hook raises.
Proof ProofNow();

}  // namespace smartcache::binding
