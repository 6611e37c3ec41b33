#include "python/interrupts.h"

namespace smartcache::binding {
namespace {

int RaiseNow(void* raised) {
  auto* error = static_cast<PyObject*>(raised);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
  Py_DECREF(error);
  return -1;
}

}  // namespace

bool ClearException() {
  if (PyErr_Occurred() == nullptr) return true;
  if (PyErr_ExceptionMatches(PyExc_Exception) == 0) return false;
  PyErr_Clear();
  return true;
}

void ReportException(PyObject* where) {
  if (PyErr_ExceptionMatches(PyExc_Exception) != 0) {
    PyErr_WriteUnraisable(where);
    return;
  }
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(error, traceback);
  if (Py_AddPendingCall(RaiseNow, error) == 0) {
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return;
  }
  PyErr_Restore(type, error, traceback);
  PyErr_WriteUnraisable(where);
}

}  // namespace smartcache::binding
