#include "python/ready_value.h"

#include <utility>

namespace smartcache::binding {
namespace {

PyTypeObject* type = nullptr;

struct Object {
  PyObject_HEAD PyObject* value;  // null once it has been handed out
};
Object* Of(PyObject* self) { return reinterpret_cast<Object*>(self); }

PySendResult Send(PyObject* self, PyObject*, PyObject** result) {
  *result = std::exchange(Of(self)->value, nullptr);
  if (*result != nullptr) return PYGEN_RETURN;
  PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
  return PYGEN_ERROR;
}

// StopIteration with the value, whatever its type: an exception, or a tuple, must not be unpacked
// into it.
void RaiseStop(PyObject* value) {
  PyObject* stop = PyObject_CallOneArg(PyExc_StopIteration, value);
  if (stop != nullptr) PyErr_SetObject(PyExc_StopIteration, stop);
  Py_XDECREF(stop);
  Py_DECREF(value);
}

PyObject* Next(PyObject* self) {
  PyObject* value = nullptr;
  if (Send(self, Py_None, &value) == PYGEN_RETURN) RaiseStop(value);
  return nullptr;
}

PyObject* SendMethod(PyObject* self, PyObject*) { return Next(self); }

PyObject* Close(PyObject* self, PyObject*) {
  Py_CLEAR(Of(self)->value);
  Py_RETURN_NONE;
}

// throw(type) or throw(exception): a finished coroutine lets it through.
PyObject* Throw(PyObject* self, PyObject* args) {
  PyObject* kind = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  if (PyArg_ParseTuple(args, "O|OO", &kind, &value, &traceback) == 0) return nullptr;
  Py_CLEAR(Of(self)->value);
  if (PyExceptionInstance_Check(kind)) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(kind)), kind);
  } else {
    PyErr_SetObject(kind, value);
  }
  return nullptr;
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(Of(self)->value);
  return 0;
}

int Clear(PyObject* self) {
  Py_CLEAR(Of(self)->value);
  return 0;
}

void Dealloc(PyObject* self) {
  PyTypeObject* own = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  (void)Clear(self);
  own->tp_free(self);
  Py_DECREF(own);
}

PyMethodDef methods[] = {{"send", SendMethod, METH_O, nullptr},
                         {"throw", Throw, METH_VARARGS, nullptr},
                         {"close", Close, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
                       {Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(Clear)},
                       {Py_tp_methods, methods},
                       {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
                       {Py_tp_iternext, reinterpret_cast<void*>(Next)},
                       {Py_am_await, reinterpret_cast<void*>(PyObject_SelfIter)},
                       {Py_am_send, reinterpret_cast<void*>(Send)},
                       {0, nullptr}};

PyType_Spec spec = {"djsmartcache._core.ReadyValue", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

bool ReadyReadyValue() {
  if (type == nullptr) type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return type != nullptr;
}

PyObject* MakeReadyValue(PyObject* value) {
  if (value == nullptr) return nullptr;
  PyObject* made = type->tp_alloc(type, 0);
  if (made == nullptr) {
    Py_DECREF(value);
    return nullptr;
  }
  Of(made)->value = value;
  return made;
}

}  // namespace smartcache::binding
