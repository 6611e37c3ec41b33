#include "python/plan_type.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "python/cached_function.h"
#include "python/errors.h"
#include "python/py_key.h"

namespace smartcache::binding {
namespace {

Ref Interned(nb::handle name) {
  if (!PyUnicode_CheckExact(name.ptr())) throw nb::type_error("names of parameters must be str");
  PyObject* text = Py_NewRef(name.ptr());
  PyUnicode_InternInPlace(&text);
  return Ref::Steal(text);
}

std::size_t IndexOf(const PlanParts& parts, nb::handle name) {
  for (std::size_t i = 0; i < parts.names.size(); ++i) {
    if (nb::handle(parts.names[i].get()).equal(name)) return i;
  }
  PyErr_SetObject(PyExc_KeyError, name.ptr());
  nb::raise_python_error();
}

KeyField FieldOf(const PlanParts& parts, nb::handle field) {
  KeyField made;
  made.argument = IndexOf(parts, field[0]);
  for (const nb::handle step : field[1]) {
    const std::string kind = nb::cast<std::string>(step[0]);
    if (kind != "attr" && kind != "item") {
      throw nb::value_error("a step is ('attr', name) or ('item', key)");
    }
    const nb::object name = step[1];
    made.path.push_back(
        {kind == "item", kind == "attr" ? Interned(name) : Ref::Borrow(name.ptr())});
  }
  return made;
}

// Literals and fields alternate, with an empty literal where the template has none.
void TakeTemplate(PlanParts& parts, nb::handle pieces) {
  parts.automatic = false;
  parts.literals.emplace_back();
  for (const nb::handle piece : pieces) {
    if (nb::isinstance<nb::str>(piece)) {
      parts.literals.back() += nb::cast<std::string>(piece);
    } else {
      parts.fields.push_back(FieldOf(parts, piece));
      parts.literals.emplace_back();
    }
  }
}

void Init(KeyPlan* self, nb::handle parameters, std::size_t positional, nb::handle keyword_only,
          nb::handle varargs, nb::handle varkw, const nb::dict& defaults, std::string literal,
          nb::handle pieces, const nb::object& identify) {
  PlanParts parts;
  for (const nb::handle name : parameters) parts.names.push_back(Interned(name));
  parts.by_position = parts.names.size();
  parts.positional_only = std::min(positional, parts.by_position);
  for (const nb::handle name : keyword_only) parts.names.push_back(Interned(name));
  parts.parameters = parts.names.size();
  for (std::size_t i = 0; i < parts.parameters; ++i) {
    PyObject* value = PyDict_GetItemWithError(defaults.ptr(), parts.names[i].get());
    if (value == nullptr && PyErr_Occurred() != nullptr) nb::raise_python_error();
    parts.defaults.push_back(Ref::Borrow(value));
  }
  parts.varargs = !varargs.is_none();
  if (parts.varargs) parts.names.push_back(Interned(varargs));
  parts.varkw = !varkw.is_none();
  if (parts.varkw) parts.names.push_back(Interned(varkw));
  parts.literal = std::move(literal);
  if (pieces.is_none()) {
    parts.literals.emplace_back();
  } else {
    TakeTemplate(parts, pieces);
  }
  parts.identify = Ref::Borrow(identify.ptr());
  new (self) KeyPlan(std::move(parts));
}

nb::object Key(const KeyPlan& self, const nb::tuple& args, const nb::dict& kwargs) {
  UnpackedCall unpacked;
  std::string key;
  std::uint64_t identity = 0;
  if (!unpacked.Unpack(args.ptr(), kwargs.ptr()) || !self.Render(unpacked.call(), key, identity)) {
    nb::raise_python_error();
  }
  return Checked(KeyTuple(key, identity));
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<KeyPlan>(self)->Visit(visit, arg) : 0;
}

int ClearPlan(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<KeyPlan>(self)->Clear();
  return 0;
}

PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(ClearPlan)},
                       {0, nullptr}};

}  // namespace

void AddKeyPlan(nb::module_& module) {
  nb::class_<KeyPlan>(module, "KeyPlan", nb::type_slots(slots))
      .def("__init__", &Init, nb::arg("parameters"), nb::kw_only(), nb::arg("positional"),
           nb::arg("keyword_only"), nb::arg("varargs").none(), nb::arg("varkw").none(),
           nb::arg("defaults"), nb::arg("literal"), nb::arg("template").none(), nb::arg("identify"))
      .def("key", &Key, nb::arg("args"), nb::arg("kwargs"));
  plan_of = [](PyObject* object) -> const KeyPlan* {
    if (nb::isinstance<KeyPlan>(object) && nb::inst_ready(object)) {
      return nb::inst_ptr<KeyPlan>(object);
    }
    PyErr_Format(PyExc_TypeError, "plan must be a KeyPlan, not %.200s", Py_TYPE(object)->tp_name);
    return nullptr;
  };
}

}  // namespace smartcache::binding
