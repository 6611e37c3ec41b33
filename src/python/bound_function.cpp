#include "python/bound_function.h"

#include <structmember.h>

#include <array>
#include <cstddef>
#include <vector>

#include "python/guarded.h"
#include "python/ref.h"

namespace smartcache::binding {
namespace {

PyTypeObject* type = nullptr;

struct Object {
  PyObject_HEAD PyObject* function;
  PyObject* self;
  PyObject* weak_references;
  vectorcallfunc vectorcall;
};
Object* Of(PyObject* self) { return reinterpret_cast<Object*>(self); }

PyObject* Vectorcall(PyObject* callable, PyObject* const* args, std::size_t flags,
                     PyObject* names) {
  Object* bound = Of(callable);
  const std::size_t given = static_cast<std::size_t>(PyVectorcall_NARGS(flags));
  const std::size_t total =
      given + (names == nullptr ? 0 : static_cast<std::size_t>(PyTuple_GET_SIZE(names)));
  if ((flags & PY_VECTORCALL_ARGUMENTS_OFFSET) != 0) {
    // The caller lends the place before the first argument.
    auto** shifted = const_cast<PyObject**>(args) - 1;
    PyObject* lent = shifted[0];
    shifted[0] = bound->self;
    PyObject* result = PyObject_Vectorcall(bound->function, shifted, given + 1, names);
    shifted[0] = lent;
    return result;
  }
  return Guarded([&] {
    std::array<PyObject*, 9> few{};
    std::vector<PyObject*> many(total + 1 > few.size() ? total + 1 : 0);
    PyObject** shifted = many.empty() ? few.data() : many.data();
    shifted[0] = bound->self;
    for (std::size_t i = 0; i < total; ++i) shifted[i + 1] = args[i];
    return PyObject_Vectorcall(bound->function, shifted, given + 1, names);
  });
}

// Own attributes first, then the function's: what is callable in its __dict__ and public is a
// handle, and so is the function itself, so that inspect.signature leaves the instance out.
PyObject* GetAttribute(PyObject* self, PyObject* name) {
  PyObject* own = PyObject_GenericGetAttr(self, name);
  if (own != nullptr || PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return own;
  PyErr_Clear();
  PyObject* function = Of(self)->function;
  const Ref found = Ref::Steal(PyObject_GetAttr(function, name));
  if (!found) return nullptr;
  const bool handle = PyUnicode_GET_LENGTH(name) != 0 && PyUnicode_READ_CHAR(name, 0) != '_';
  if (!handle && PyUnicode_CompareWithASCIIString(name, "__wrapped__") != 0) {
    return Py_NewRef(found.get());
  }
  const Ref dict = Ref::Steal(PyObject_GenericGetDict(function, nullptr));
  if (!dict) return nullptr;
  const int contains = PyDict_Contains(dict.get(), name);
  if (contains < 0) return nullptr;
  if (contains == 0 || PyCallable_Check(found.get()) == 0) return Py_NewRef(found.get());
  return PyMethod_New(found.get(), Of(self)->self);
}

PyObject* Compare(PyObject* left, PyObject* right, int operation) {
  if ((operation != Py_EQ && operation != Py_NE) || Py_TYPE(right) != type) {
    Py_RETURN_NOTIMPLEMENTED;
  }
  const bool same = Of(left)->function == Of(right)->function && Of(left)->self == Of(right)->self;
  return PyBool_FromLong(same == (operation == Py_EQ));
}

Py_hash_t Hash(PyObject* self) {
  const auto mixed = reinterpret_cast<std::size_t>(Of(self)->function) ^
                     reinterpret_cast<std::size_t>(Of(self)->self) >> 4;
  const auto hash = static_cast<Py_hash_t>(mixed);
  return hash == -1 ? -2 : hash;
}

PyObject* Repr(PyObject* self) {
  return PyUnicode_FromFormat("<bound %R of %R>", Of(self)->function, Of(self)->self);
}

// As bound methods are pickled: the attribute of the instance.
PyObject* Reduce(PyObject* self, PyObject*) {
  const Ref name = Ref::Steal(PyObject_GetAttrString(Of(self)->function, "__name__"));
  PyObject* get = name ? PyDict_GetItemString(PyEval_GetBuiltins(), "getattr") : nullptr;
  if (get == nullptr) return nullptr;
  return Py_BuildValue("O(OO)", get, Of(self)->self, name.get());
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(Of(self)->function);
  Py_VISIT(Of(self)->self);
  return 0;
}

int Clear(PyObject* self) {
  // A bound method refers to no cycle that its instance or function do not break.
  (void)self;
  return 0;
}

void Dealloc(PyObject* self) {
  PyTypeObject* own = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (Of(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  Py_CLEAR(Of(self)->function);
  Py_CLEAR(Of(self)->self);
  own->tp_free(self);
  Py_DECREF(own);
}

PyMemberDef members[] = {
    {"__func__", T_OBJECT, offsetof(Object, function), READONLY, nullptr},
    {"__self__", T_OBJECT, offsetof(Object, self), READONLY, nullptr},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Object, vectorcall), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Object, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyMethodDef methods[] = {{"__reduce__", Reduce, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
                       {Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(Clear)},
                       {Py_tp_members, members},
                       {Py_tp_methods, methods},
                       {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                       {Py_tp_getattro, reinterpret_cast<void*>(GetAttribute)},
                       {Py_tp_richcompare, reinterpret_cast<void*>(Compare)},
                       {Py_tp_hash, reinterpret_cast<void*>(Hash)},
                       {Py_tp_repr, reinterpret_cast<void*>(Repr)},
                       {0, nullptr}};

PyType_Spec spec = {"djsmartcache._core.BoundCachedFunction", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

bool ReadyBoundFunction() {
  if (type == nullptr) type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return type != nullptr;
}

PyObject* BindFunction(PyObject* function, PyObject* self) {
  PyObject* made = type->tp_alloc(type, 0);
  if (made == nullptr) return nullptr;
  Of(made)->function = Py_NewRef(function);
  Of(made)->self = Py_NewRef(self);
  Of(made)->vectorcall = Vectorcall;
  return made;
}

}  // namespace smartcache::binding
