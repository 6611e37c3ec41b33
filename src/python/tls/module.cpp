// djsmartcache._tls: TLS to the servers by OpenSSL. It has no names: importing it registers it with
// djsmartcache._core, which alone uses it.
#include <Python.h>

#include "smartcache/tls.h"
#include "tls/context.h"

namespace {

smartcache::tls::MakeContext make = &smartcache::tls::MakeOpenSslContext;

int Register(PyObject*) {
  PyObject* const core = PyImport_ImportModule("djsmartcache._core");
  PyObject* const capsule =
      PyCapsule_New(static_cast<void*>(&make), smartcache::tls::kCapsule, nullptr);
  PyObject* const done = core != nullptr && capsule != nullptr
                             ? PyObject_CallMethod(core, "register_tls", "O", capsule)
                             : nullptr;
  Py_XDECREF(core);
  Py_XDECREF(capsule);
  Py_XDECREF(done);
  return done == nullptr ? -1 : 0;
}

PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(&Register)}, {0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "djsmartcache._tls",
                          nullptr,
                          0,
                          nullptr,
                          slots,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): Python's name.
PyMODINIT_FUNC PyInit__tls() { return PyModuleDef_Init(&definition); }
