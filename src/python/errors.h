// Core codes as Python exceptions: the one table. Includes nanobind, as do the files that use it.
#pragma once

#include <nanobind/nanobind.h>

#include "smartcache/result.h"

namespace smartcache::binding {

namespace nb = nanobind;

// Adds StoreUnavailable to the module.
void AddErrors(nb::module_& module);

// Throws the exception of a status that is not ok: ValueError for the caller's mistake,
// StoreUnavailable where the store could not be asked.
[[noreturn]] void Raise(const Status& status);

// The value, or Raise.
template <class T>
T ValueOf(Result<T> result) {
  if (!result.ok()) Raise(result.status());
  return *std::move(result);
}

// Throws the Python exception that a C API call has set.
inline nb::object Checked(PyObject* made) {
  if (made == nullptr) nb::raise_python_error();
  return nb::steal(made);
}

}  // namespace smartcache::binding
