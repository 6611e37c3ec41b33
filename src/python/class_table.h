// What the binding may do with the instances of a class, decided once per class: share them, copy
// them piece by piece, or leave them to the serializer. Needs the GIL. Imports nothing: a class of
// a module that is not imported has no instances.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>

#include "python/ref.h"

namespace smartcache::binding {

enum class ClassKind : std::uint8_t {
  kOther,  // only the serializer knows
  kKeep,   // immutable or known by name: shared by reference
  kZoned,  // datetime, time: shared unless its tzinfo is of an unknown class
  kTuple,
  kNamedTuple,
  kFrozenSet,
  kList,
  kDict,
  kSet,
  kModel,       // rebuilt from its fields alone
  kModelState,  // Django's record in every instance
  kQuerySet,    // without state of its own beyond __dict__
};

struct Class {
  ClassKind kind = ClassKind::kOther;
  bool holds_models = false;    // an instance may be a model instance, or hold some
  std::string label = {};       // kModel: app_label.ModelName
  mutable Ref rows_label = {};  // kModel: see rows.h; made when first asked
};

// Asks label_of for a class met for the first time, so it may run Python. The reference is good
// while an instance lives.
[[nodiscard]] const Class& ClassOf(PyTypeObject* type);

// Whether an instance of `type` may be an instance of a model, or hold some that are at hand: a
// queryset, a lazy object, a dataclass, a container of a class of its own.
[[nodiscard]] bool HoldsModels(PyTypeObject* type);

// Forgets all decisions: label_of is another one.
void ForgetClasses();

// `name` of an imported module, new reference; null, without an exception, if either is missing.
[[nodiscard]] PyObject* Imported(const char* module, const char* name);

// Whether `type` has instance attributes in a __dict__.
[[nodiscard]] bool HasDict(PyTypeObject* type);

// Lets `dict` be the __dict__ of `object`. False with an exception.
[[nodiscard]] bool SetDict(PyObject* object, PyObject* dict);

// Classes of most values, by address alone.
inline bool IsScalar(PyTypeObject* type) {
  return type == &PyUnicode_Type || type == &PyLong_Type || type == Py_TYPE(Py_None) ||
         type == &PyBool_Type || type == &PyFloat_Type || type == &PyBytes_Type;
}

}  // namespace smartcache::binding
