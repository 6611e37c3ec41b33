#include "python/py_key.h"

#include <algorithm>
#include <array>

#include "python/renderer.h"
#include "python/stand_in.h"

namespace smartcache::binding {
namespace {

constexpr std::size_t kInlineArguments = 16;

}  // namespace

// A call's arguments in the plan's order, borrowed; null: not given.
struct KeyPlan::Bound {
  explicit Bound(std::size_t parameters) {
    if (parameters > kInlineArguments) more.resize(parameters);
    values = parameters > kInlineArguments ? more.data() : few.data();
    std::fill_n(values, parameters, nullptr);
  }
  std::array<PyObject*, kInlineArguments> few;
  std::vector<PyObject*> more;
  PyObject** values;
  PyObject* const* extra = nullptr;  // of *varargs
  Py_ssize_t extra_count = 0;
  std::vector<std::pair<PyObject*, PyObject*>> keywords;  // of **varkw
};

bool UnpackedCall::Unpack(PyObject* args, PyObject* kwargs) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) {
    owned_.push_back(Ref::Borrow(PyTuple_GET_ITEM(args, i)));
  }
  call_.positional = PyTuple_GET_SIZE(args);
  if (kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) {
    std::vector<Ref> names;
    PyObject* name = nullptr;
    PyObject* value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(kwargs, &position, &name, &value) != 0;) {
      if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "keywords must be strings");
        return false;
      }
      names.push_back(Ref::Borrow(name));
      owned_.push_back(Ref::Borrow(value));
    }
    names_ = Ref::Steal(PyTuple_New(static_cast<Py_ssize_t>(names.size())));
    if (!names_) return false;
    for (std::size_t i = 0; i < names.size(); ++i) {
      PyTuple_SET_ITEM(names_.get(), static_cast<Py_ssize_t>(i), names[i].release());
    }
    call_.names = names_.get();
  }
  for (const Ref& value : owned_) flat_.push_back(value.get());
  call_.args = flat_.data();
  return true;
}

PyObject* KeyTuple(std::string_view key, std::uint64_t identity) {
  Ref text = Ref::Steal(PyBytes_FromStringAndSize(key.data(), static_cast<Py_ssize_t>(key.size())));
  Ref number = Ref::Steal(PyLong_FromUnsignedLongLong(identity));
  return text && number ? PyTuple_Pack(2, text.get(), number.get()) : nullptr;
}

KeyPlan::KeyPlan(PlanParts parts) : parts_(std::move(parts)), template_(parts_.literals) {
  in_fields_.resize(parts_.names.size());
  for (const KeyField& field : parts_.fields) {
    if (field.path.empty()) in_fields_[field.argument] = true;
  }
  char before = '(';
  for (std::size_t i = 0; i < parts_.names.size(); ++i) {
    std::string& label = labels_.emplace_back(1, before);
    const bool is_varargs = parts_.varargs && i == parts_.parameters;
    const bool is_varkw = parts_.varkw && i + 1 == parts_.names.size();
    if (is_varargs) label += '*';
    if (is_varkw) label += "**";
    label += PyUnicode_AsUTF8(parts_.names[i].get());
    label += '=';
    before = ',';
  }
}

bool KeyPlan::Render(const Call& call, std::string& key, std::uint64_t& identity) const {
  Bound bound(parts_.parameters);
  if (!Bind(call, bound)) {
    if (PyErr_Occurred() == nullptr) RaiseAsTheFunction(call);
    return false;
  }
  const std::size_t start = key.size();
  Renderer renderer(key, parts_.identify.get());
  if (!(parts_.automatic ? RenderAutomatic(bound, renderer) : RenderTemplate(bound, renderer))) {
    return false;
  }
  identity = renderer.identity();
  if (key.size() - start > kMaxKeyBytes) [[unlikely]] {
    std::string own = key.substr(start);
    ShortenKey(own);
    key.replace(start, std::string::npos, own);
  }
  return true;
}

bool KeyPlan::Bind(const Call& call, Bound& bound) const {
  const auto given = static_cast<std::size_t>(call.positional);
  const std::size_t taken = std::min(given, parts_.by_position);
  std::copy_n(call.args, taken, bound.values);
  if (given > taken) {
    if (!parts_.varargs) return false;
    bound.extra = call.args + taken;
    bound.extra_count = static_cast<Py_ssize_t>(given - taken);
  }
  const Py_ssize_t named = call.named();
  for (Py_ssize_t i = 0; i < named; ++i) {
    if (!BindName(PyTuple_GET_ITEM(call.names, i), call.args[given + static_cast<std::size_t>(i)],
                  bound)) {
      return false;
    }
  }
  for (std::size_t i = 0; i < parts_.parameters; ++i) {
    if (bound.values[i] != nullptr) continue;
    bound.values[i] = parts_.defaults[i].get();
    if (bound.values[i] == nullptr) return false;
  }
  return true;
}

bool KeyPlan::BindName(PyObject* name, PyObject* value, Bound& bound) const {
  const std::size_t first = parts_.positional_only;
  std::size_t found = parts_.parameters;
  // Names in call sites are interned, as ours are.
  for (std::size_t i = first; i < parts_.parameters; ++i) {
    if (parts_.names[i].get() == name) {
      found = i;
      break;
    }
  }
  if (found == parts_.parameters &&
      (PyUnicode_CHECK_INTERNED(name) == 0 || !PyUnicode_CheckExact(name))) {
    for (std::size_t i = first; i < parts_.parameters; ++i) {
      if (PyUnicode_Compare(parts_.names[i].get(), name) == 0) {
        found = i;
        break;
      }
    }
  }
  if (found == parts_.parameters) {
    if (!parts_.varkw) return false;
    bound.keywords.emplace_back(name, value);
    return true;
  }
  if (bound.values[found] != nullptr) return false;
  bound.values[found] = value;
  return true;
}

// The value of a parameter, or of *varargs as a tuple, or of **varkw as a dict.
Ref KeyPlan::Argument(const Bound& bound, std::size_t index) const {
  if (index < parts_.parameters) return Ref::Borrow(bound.values[index]);
  if (parts_.varargs && index == parts_.parameters) {
    Ref extra = Ref::Steal(PyTuple_New(bound.extra_count));
    for (Py_ssize_t i = 0; extra && i < bound.extra_count; ++i) {
      PyTuple_SET_ITEM(extra.get(), i, Py_NewRef(bound.extra[i]));
    }
    return extra;
  }
  Ref keywords = Ref::Steal(PyDict_New());
  for (const auto& [name, value] : bound.keywords) {
    if (!keywords || PyDict_SetItem(keywords.get(), name, value) != 0) return {};
  }
  return keywords;
}

bool KeyPlan::RenderAutomatic(const Bound& bound, Renderer& out) const {
  out.out() += parts_.literal;
  for (std::size_t i = 0; i < parts_.names.size(); ++i) {
    out.out() += labels_[i];
    PyObject* name = parts_.names[i].get();
    if (i < parts_.parameters) {
      if (!out.Value(name, bound.values[i])) return false;
    } else {
      const Ref argument = Argument(bound, i);
      if (!argument || !out.Value(name, argument.get())) return false;
    }
  }
  if (labels_.empty()) out.out() += '(';
  out.out() += ')';
  return true;
}

bool KeyPlan::RenderTemplate(const Bound& bound, Renderer& out) const {
  for (const KeyPart& part : template_.parts()) {
    out.out() += part.literal;
    if (!part.has_field) break;
    const KeyField& field = parts_.fields[part.field];
    PyObject* name = parts_.names[field.argument].get();
    if (part.wrapped) out.out() += '(';
    if (field.path.empty() && field.argument < parts_.parameters) {
      if (!out.Value(name, bound.values[field.argument])) return false;
    } else {
      Ref value = Argument(bound, field.argument);
      for (const KeyField::Step& step : field.path) {
        if (!value) return false;
        value = Ref::Steal(step.item ? PyObject_GetItem(value.get(), step.name.get())
                                     : PyObject_GetAttr(value.get(), step.name.get()));
      }
      if (!value || !out.Value(name, value.get())) return false;
    }
    if (part.wrapped) out.out() += ')';
  }
  for (std::size_t i = 0; i < parts_.names.size(); ++i) {
    if (in_fields_[i]) continue;
    if (i < parts_.parameters) {
      if (!out.Account(parts_.names[i].get(), bound.values[i])) return false;
    } else if (bound.extra_count != 0 || !bound.keywords.empty()) {
      const Ref argument = Argument(bound, i);
      if (!argument || !out.Account(parts_.names[i].get(), argument.get())) return false;
    }
  }
  return true;
}

void KeyPlan::RaiseAsTheFunction(const Call& call) const { RaiseForWrongArguments(parts_, call); }

int KeyPlan::Visit(visitproc visit, void* arg) const {
  for (const Ref& value : parts_.defaults) Py_VISIT(value.get());
  Py_VISIT(parts_.identify.get());
  return 0;
}

void KeyPlan::Clear() {
  // Defaults stay: a call under way may have borrowed them, and they are dropped with the plan.
  parts_.identify = Ref();
}

}  // namespace smartcache::binding
