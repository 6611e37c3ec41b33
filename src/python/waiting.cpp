#include "python/waiting.h"

#include "python/gil.h"

namespace smartcache::binding {

bool Waiting::GoesOn() {
  const GilHold gil;
  if (!gil) return false;
  if (PyErr_CheckSignals() != 0) return Keep();
  if (patience_ == nullptr) return true;
  const Ref said = Ref::Steal(PyObject_CallNoArgs(patience_));
  const int patient = said ? PyObject_IsTrue(said.get()) : -1;
  return patient < 0 ? Keep() : patient == 1;
}

// Takes the exception away until the call is over, as ending a wait may run Python, too.
bool Waiting::Keep() {
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(error, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  raised_ = Ref::Steal(error);
  return false;
}

void Waiting::RaiseWhatEndedIt() {
  if (!raised_) return;
  PyObject* error = raised_.get();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
  nanobind::raise_python_error();
}

}  // namespace smartcache::binding
