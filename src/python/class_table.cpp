#include "python/class_table.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

#include "python/hooks.h"
#include "python/interrupts.h"
#include "python/ref.h"

namespace smartcache::binding {
namespace {

struct Known {
  Class verdict;
  Ref weak;  // its callback removes the class when it dies, before another can have its address
};

std::unordered_map<PyTypeObject*, Known>& Table() {
  static auto* table = new std::unordered_map<PyTypeObject*, Known>();  // outlives the interpreter
  return *table;
}

PyObject* ForgetClass(PyObject*, PyObject* weak) {
  Ref doomed;
  auto& table = Table();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const auto& row) { return row.second.weak.get() == weak; });
  if (found != table.end()) {
    doomed = std::move(found->second.weak);
    table.erase(found);
  }
  Py_RETURN_NONE;
}

PyMethodDef forget_method = {"_forget_class", ForgetClass, METH_O, nullptr};

bool Is(PyTypeObject* type, const char* module, const char* name) {
  const Ref known = Ref::Steal(Imported(module, name));
  return known.get() == reinterpret_cast<PyObject*>(type);
}

bool IsSubclass(PyTypeObject* type, const char* module, const char* name) {
  const Ref base = Ref::Steal(Imported(module, name));
  return base && PyType_Check(base.get()) &&
         PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(base.get())) != 0;
}

// Instances of a subclass without room for anything of their own are as immutable as the base.
bool AddsNothing(PyTypeObject* type, PyTypeObject* base) {
  return PyType_IsSubtype(type, base) != 0 && type->tp_basicsize == base->tp_basicsize &&
         !HasDict(type);
}

// Whether `type` takes `name` from `base` and not from a class between them.
bool Inherits(PyTypeObject* type, PyTypeObject* base, const char* name) {
  const Ref mine = Ref::Steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), name));
  if (!mine) PyErr_Clear();
  const Ref theirs = Ref::Steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(base), name));
  if (!theirs) PyErr_Clear();
  return mine.get() == theirs.get();
}

// Whether instances of `type` are their __dict__ and nothing else: a subclass of a class of
// Django's without slots, and without a hand in how its instances are made, copied or unmade.
bool IsPlain(PyTypeObject* type, const char* module, const char* name_of_base) {
  const Ref imported = Ref::Steal(Imported(module, name_of_base));
  if (!imported || !PyType_Check(imported.get())) return false;
  auto* base = reinterpret_cast<PyTypeObject*>(imported.get());
  if (PyType_IsSubtype(type, base) == 0 || type->tp_basicsize != base->tp_basicsize) return false;
  for (const char* name : {"__getstate__", "__setstate__", "__reduce__", "__reduce_ex__",
                           "__copy__", "__deepcopy__", "__del__", "__new__", "__getattribute__"}) {
    if (!Inherits(type, base, name)) return false;
  }
  return true;
}

bool IsKept(PyTypeObject* type) {
  if (type == &PyComplex_Type || type == &PyRange_Type || type == &PyFunction_Type ||
      type == &PyCFunction_Type || type == Py_TYPE(Py_Ellipsis) ||
      PyType_IsSubtype(type, &PyType_Type)) {
    return true;
  }
  for (PyTypeObject* base : {&PyUnicode_Type, &PyLong_Type, &PyFloat_Type, &PyBytes_Type}) {
    if (AddsNothing(type, base)) return true;
  }
  // No room for any state: FetchMode and other singletons.
  if (type->tp_basicsize == static_cast<Py_ssize_t>(sizeof(PyObject)) && type->tp_itemsize == 0 &&
      !HasDict(type)) {
    return true;
  }
  return Is(type, "datetime", "date") || Is(type, "datetime", "timedelta") ||
         Is(type, "datetime", "timezone") || Is(type, "zoneinfo", "ZoneInfo") ||
         Is(type, "decimal", "Decimal") || Is(type, "uuid", "UUID") ||
         IsSubclass(Py_TYPE(type), "enum", "EnumMeta") ||
         IsSubclass(type, "django.db.models.fields", "Field");
}

bool MayHoldModels(PyTypeObject* type) {
  for (PyTypeObject* base :
       {&PyTuple_Type, &PyList_Type, &PyDict_Type, &PySet_Type, &PyFrozenSet_Type}) {
    if (PyType_IsSubtype(type, base) != 0) return true;
  }
  return IsSubclass(type, "django.db.models.base", "Model") ||
         IsSubclass(type, "django.db.models.query", "QuerySet") ||
         IsSubclass(type, "django.utils.functional", "LazyObject") ||
         IsSubclass(type, "collections", "deque") ||
         PyObject_HasAttrString(reinterpret_cast<PyObject*>(type), "__dataclass_fields__") != 0;
}

// Nullopt: an interrupt came in between, so that nothing is known.
std::optional<Class> Decide(PyTypeObject* type) {
  if (IsKept(type)) return Class{ClassKind::kKeep};
  if (Is(type, "datetime", "datetime") || Is(type, "datetime", "time")) {
    return Class{ClassKind::kZoned};
  }
  if (PyType_IsSubtype(type, &PyTuple_Type) != 0) {
    auto* object = reinterpret_cast<PyObject*>(type);
    const bool named =
        AddsNothing(type, &PyTuple_Type) && PyObject_HasAttrString(object, "_fields") != 0;
    return Class{named ? ClassKind::kNamedTuple : ClassKind::kOther};
  }
  if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0 || !HasDict(type)) return Class{};
  if (Is(type, "django.db.models.base", "ModelState")) return Class{ClassKind::kModelState};
  if (IsPlain(type, "django.db.models.query", "QuerySet")) return Class{ClassKind::kQuerySet};
  if (hooks.label_of == nullptr || !IsPlain(type, "django.db.models.base", "Model")) return Class{};
  const Ref label_of = Ref::Borrow(hooks.label_of);  // a configure() meanwhile must not free it
  const Ref label =
      Ref::Steal(PyObject_CallOneArg(label_of.get(), reinterpret_cast<PyObject*>(type)));
  if (!label) {
    const bool interrupted = PyErr_ExceptionMatches(PyExc_Exception) == 0;
    ReportException(label_of.get());
    return interrupted ? std::nullopt : std::optional(Class{});
  }
  if (!PyUnicode_Check(label.get())) return Class{};
  const char* text = PyUnicode_AsUTF8(label.get());
  if (text == nullptr) {
    PyErr_Clear();
    return Class{};
  }
  Class model{ClassKind::kModel};
  model.label = text;
  return model;
}

}  // namespace

PyObject* Imported(const char* module, const char* name) {
  const Ref module_name = Ref::Steal(PyUnicode_FromString(module));
  const Ref imported = module_name ? Ref::Steal(PyImport_GetModule(module_name.get())) : Ref();
  PyObject* found = imported ? PyObject_GetAttrString(imported.get(), name) : nullptr;
  if (found == nullptr) PyErr_Clear();
  return found;
}

bool HasDict(PyTypeObject* type) {
#ifdef Py_TPFLAGS_MANAGED_DICT
  if ((type->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0) return true;
#endif
  return type->tp_dictoffset != 0;
}

bool SetDict(PyObject* object, PyObject* dict) {
#if PY_VERSION_HEX >= 0x030D0000
  // PyObject_GenericSetDict leaves the attributes that lie in the object itself in force (3.13.0).
  static PyObject* name = PyUnicode_InternFromString("__dict__");
  return PyObject_GenericSetAttr(object, name, dict) == 0;
#else
  return PyObject_GenericSetDict(object, dict, nullptr) == 0;
#endif
}

const Class& ClassOf(PyTypeObject* type) {
  static const Class fixed[] = {{ClassKind::kKeep}, {ClassKind::kTuple}, {ClassKind::kList},
                                {ClassKind::kDict}, {ClassKind::kSet},   {ClassKind::kFrozenSet}};
  if (IsScalar(type)) return fixed[0];
  if (type == &PyTuple_Type) return fixed[1];
  if (type == &PyList_Type) return fixed[2];
  if (type == &PyDict_Type) return fixed[3];
  if (type == &PySet_Type) return fixed[4];
  if (type == &PyFrozenSet_Type) return fixed[5];
  auto& table = Table();
  if (const auto found = table.find(type); found != table.end()) return found->second.verdict;
  static const Class other;
  std::optional<Class> decided = Decide(type);
  if (!decided) return other;
  Known known{*std::move(decided), {}};
  known.verdict.holds_models = MayHoldModels(type);
  static PyObject* callback = PyCFunction_New(&forget_method, nullptr);
  known.weak = Ref::Steal(PyWeakref_NewRef(reinterpret_cast<PyObject*>(type), callback));
  if (!known.weak) {
    PyErr_Clear();
    return other;
  }
  return table.try_emplace(type, std::move(known)).first->second.verdict;
}

bool HoldsModels(PyTypeObject* type) { return ClassOf(type).holds_models; }

void ForgetClasses() {
  // References are dropped after the table is whole again: a drop may run anything.
  std::unordered_map<PyTypeObject*, Known> doomed;
  doomed.swap(Table());
}

}  // namespace smartcache::binding
