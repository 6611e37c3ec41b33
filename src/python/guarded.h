// For functions that the interpreter calls itself: no C++ exception may cross its frames.
#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <new>
#include <utility>

namespace smartcache::binding {

// What `call` returns; null with the exception, MemoryError or RuntimeError if it throws. Costs
// nothing until then. Not `...`: the forced unwinding of a thread that the interpreter ends must go
// on.
template <class Call>
PyObject* Guarded(Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (nanobind::python_error& error) {
    error.restore();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

}  // namespace smartcache::binding
