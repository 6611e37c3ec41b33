#include "python/gil.h"

#include <unistd.h>

namespace smartcache::binding {
namespace {

std::atomic<bool> interpreter_gone{false};

bool Finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

[[noreturn]] void SleepForEver() {
  for (;;) pause();
}

}  // namespace

std::atomic<Owner*> dropped{nullptr};

bool InterpreterGone() { return interpreter_gone.load(std::memory_order_acquire) || Finalizing(); }

void MarkInterpreterGone() { interpreter_gone.store(true, std::memory_order_release); }

// NOLINTNEXTLINE(bugprone-unsafe-to-allow-exceptions): what unwinds through it is pthread_exit
GilRelease::~GilRelease() noexcept(false) {
  if (Finalizing()) SleepForEver();
  try {
    PyEval_RestoreThread(state_);
  } catch (
      ...) {  // The forced unwinding of pthread_exit; leaving this block would abort the process.
    SleepForEver();
  }
}

void DropLater(std::unique_ptr<Owner> owner) {
  if (owner == nullptr) return;
  Owner* node = owner.release();
  if (interpreter_gone.load(std::memory_order_acquire)) return;
  node->next_ = dropped.load(std::memory_order_relaxed);
  while (!dropped.compare_exchange_weak(node->next_, node, std::memory_order_release,
                                        std::memory_order_relaxed)) {
  }
}

void DrainNow() {
  Owner* node = dropped.exchange(nullptr, std::memory_order_acquire);
  while (node != nullptr) {
    Owner* next = node->next_;
    delete node;
    node = next;
  }
}

}  // namespace smartcache::binding
