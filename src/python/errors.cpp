#include "python/errors.h"

namespace smartcache::binding {
namespace {

PyObject* store_unavailable = nullptr;  // lives as long as the module

}  // namespace

void AddErrors(nb::module_& module) {
  const nb::object made = Checked(PyErr_NewExceptionWithDoc(
      "djsmartcache._core.StoreUnavailable", "The store could not be asked.", nullptr, nullptr));
  store_unavailable = Py_NewRef(made.ptr());
  module.attr("StoreUnavailable") = made;
}

void Raise(const Status& status) {
  PyObject* kind = PyExc_ValueError;
  switch (status.code()) {
    case Code::kUnavailable:
      kind = store_unavailable;
      break;
    case Code::kOk:
    case Code::kTooLarge:
    case Code::kCorrupt:
    case Code::kInvalidArgument:
      break;
  }
  PyErr_SetString(kind, status.message().c_str());
  nb::raise_python_error();
}

}  // namespace smartcache::binding
