// The GIL line. Python's lock is given away here and nowhere else, around I/O and waiting on plain
// C++ values; and Python objects that the core drops wait here for a thread that holds the lock.
#pragma once

#include <Python.h>

#include <atomic>
#include <memory>
#include <utility>

namespace smartcache::binding {

// True once the interpreter is being torn down: nothing may touch Python's objects any more.
[[nodiscard]] bool InterpreterGone();
// Called by atexit. What is dropped from then on is leaked to the operating system.
void MarkInterpreterGone();

// Gives the GIL away for its lifetime. A daemon thread that comes back to a finalizing interpreter
// sleeps for ever here: CPython would end it by unwinding, which C++ frames on its stack answer
// with abort().
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() noexcept(false);
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// Runs `call` without the GIL. It must not touch a Python object.
template <class Call>
auto WithoutGil(Call&& call) {
  GilRelease release;
  return std::forward<Call>(call)();
}

// Takes the GIL on any thread, whether it holds it or not. False if there is no interpreter any
// more.
class GilHold {
 public:
  GilHold() : held_(!InterpreterGone()) {
    if (held_) state_ = PyGILState_Ensure();
  }
  ~GilHold() {
    if (held_) PyGILState_Release(state_);
  }
  GilHold(const GilHold&) = delete;
  GilHold& operator=(const GilHold&) = delete;
  [[nodiscard]] explicit operator bool() const { return held_; }

 private:
  bool held_;
  PyGILState_STATE state_{};
};

// Something that owns Python references. Its destructor runs with the GIL held.
class Owner {
 public:
  virtual ~Owner() = default;

 private:
  friend void DropLater(std::unique_ptr<Owner> owner);
  friend void DrainNow();
  Owner* next_ = nullptr;
};

// Hands `owner` to the next thread that drains. Lock-free, so that a fork never finds it locked;
// needs no GIL.
void DropLater(std::unique_ptr<Owner> owner);

extern std::atomic<Owner*> dropped;
void DrainNow();
// Destroys what was dropped. With the GIL held, and not where user code must not run.
inline void DrainDropped() {
  if (dropped.load(std::memory_order_relaxed) != nullptr) [[unlikely]] {
    DrainNow();
  }
}

}  // namespace smartcache::binding
