#include "python/rows.h"

#include <unordered_map>

#include "base/hash.h"
#include "python/class_table.h"
#include "python/hooks.h"
#include "python/interrupts.h"

namespace smartcache::binding {
namespace {

// Appends "attname:FieldClass;" of each concrete field.
bool AppendShape(PyTypeObject* model, std::string& shape) {
  const Ref meta = Ref::Steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(model), "_meta"));
  const Ref fields =
      meta ? Ref::Steal(PyObject_GetAttrString(meta.get(), "concrete_fields")) : Ref();
  const Ref list = fields ? Ref::Steal(PySequence_Tuple(fields.get())) : Ref();
  if (!list) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(list.get()); ++i) {
    PyObject* field = PyTuple_GET_ITEM(list.get(), i);
    const Ref attname = Ref::Steal(PyObject_GetAttrString(field, "attname"));
    const char* text = attname ? PyUnicode_AsUTF8(attname.get()) : nullptr;
    if (text == nullptr) return false;
    shape.append(text).append(1, ':').append(Py_TYPE(field)->tp_name).append(1, ';');
  }
  return true;
}

}  // namespace

Ref RowsLabel(PyTypeObject* model) {
  const Class& known = ClassOf(model);
  if (known.kind != ClassKind::kModel) return {};
  if (known.rows_label) return known.rows_label;
  std::string label = known.label;
  std::string shape;
  if (!AppendShape(model, shape)) return {};
  char hash[18];
  PyOS_snprintf(hash, sizeof hash, "#%016llx", static_cast<unsigned long long>(Hash64(shape)));
  label += hash;
  Ref text =
      Ref::Steal(PyUnicode_FromStringAndSize(label.data(), static_cast<Py_ssize_t>(label.size())));
  // Asked again: a configure() while Python ran has dropped what was known.
  if (text) ClassOf(model).rows_label = text;
  return text;
}

Ref ModelOfLabel(const std::string& label) {
  const std::size_t hash = label.rfind('#');
  if (hash == std::string::npos || hooks.model_of == nullptr) return {};
  const Ref model_of = Ref::Borrow(hooks.model_of);
  const Ref name =
      Ref::Steal(PyUnicode_FromStringAndSize(label.data(), static_cast<Py_ssize_t>(hash)));
  Ref model = name ? Ref::Steal(PyObject_CallOneArg(model_of.get(), name.get())) : Ref();
  if (!model || !PyType_Check(model.get())) {
    (void)ClearException();
    return {};
  }
  const Ref present = RowsLabel(reinterpret_cast<PyTypeObject*>(model.get()));
  const char* text = present ? PyUnicode_AsUTF8(present.get()) : nullptr;
  const bool same = text != nullptr && label == text;
  return ClearException() && same ? model : Ref();
}

PyObject* FetchMode(unsigned index) {
  static constexpr const char* kNames[kFetchModes] = {nullptr, "FETCH_ONE", "FETCH_PEERS",
                                                      "FETCH_RAISE"};
  static PyObject* modes[kFetchModes] = {};
  if (index == 0 || index >= kFetchModes) return nullptr;
  if (modes[index] == nullptr) {
    modes[index] = Imported("django.db.models.fetch_modes", kNames[index]);
  }
  return modes[index];
}

PyObject* ModelState() {
  static PyObject* state = nullptr;
  if (state == nullptr) state = Imported("django.db.models.base", "ModelState");
  return state;
}

const Names& AttributeNames() {
  static const Names names = {
      PyUnicode_InternFromString("_state"),       PyUnicode_InternFromString("fields_cache"),
      PyUnicode_InternFromString("db"),           PyUnicode_InternFromString("adding"),
      PyUnicode_InternFromString("fetch_mode"),   PyUnicode_InternFromString("peers"),
      PyUnicode_InternFromString("_result_cache")};
  return names;
}

}  // namespace smartcache::binding
