// What is no Exception (KeyboardInterrupt, SystemExit) says nothing about a value or a class: it is
// on its way to whoever runs the program, and is not swallowed here. Needs the GIL.
#pragma once

#include <Python.h>

namespace smartcache::binding {

// Clears an exception, if one is set. False: it is no Exception, and stays set to be passed on.
[[nodiscard]] bool ClearException();

// For the exception of a call that has no caller in Python: an Exception is reported as unraisable,
// `where` it was raised; any other is raised by the main thread as soon as that runs Python.
void ReportException(PyObject* where);

}  // namespace smartcache::binding
