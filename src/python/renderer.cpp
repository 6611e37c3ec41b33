#include "python/renderer.h"

#include <algorithm>
#include <utility>

#include "key/key_text.h"
#include "python/class_table.h"
#include "python/scalars.h"

namespace smartcache::binding {
namespace {

// A container that contains itself ends here, with RecursionError.
class Recursion {
 public:
  Recursion() : entered_(Py_EnterRecursiveCall(" while making a cache key") == 0) {}
  ~Recursion() {
    if (entered_) Py_LeaveRecursiveCall();
  }
  Recursion(const Recursion&) = delete;
  Recursion& operator=(const Recursion&) = delete;
  explicit operator bool() const { return entered_; }

 private:
  bool entered_;
};

bool AppendLong(std::string& out, PyObject* value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) {
    AppendInt(out, number);
    return true;
  }
  Ref digits = Ref::Steal(PyNumber_ToBase(value, 10));
  if (!digits) {  // beyond the interpreter's limit of decimal digits; 0x.. is no decimal
    PyErr_Clear();
    digits = Ref::Steal(PyNumber_ToBase(value, 16));
  }
  const char* text = digits ? PyUnicode_AsUTF8(digits.get()) : nullptr;
  if (text == nullptr) return false;
  AppendBigInt(out, text);
  return true;
}

bool AppendUnicode(std::string& out, PyObject* value) {
  if (PyUnicode_IS_COMPACT_ASCII(value)) {
    AppendText(out, {static_cast<const char*>(PyUnicode_DATA(value)),
                     static_cast<std::size_t>(PyUnicode_GET_LENGTH(value))});
    return true;
  }
  std::string_view utf8;
  Ref owner;
  if (!TextOf(value, utf8, owner)) return false;
  AppendText(out, utf8);
  return true;
}

}  // namespace

bool Renderer::Scalar(PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  if (type == &PyLong_Type) return AppendLong(out_, value);
  if (type == &PyUnicode_Type) return AppendUnicode(out_, value);
  if (value == Py_None) {
    AppendNone(out_);
  } else if (type == &PyBool_Type) {
    AppendBool(out_, value == Py_True);
  } else if (type == &PyFloat_Type) {
    AppendFloat(out_, PyFloat_AS_DOUBLE(value));
  } else if (type != &PyBytes_Type) {
    return false;
  } else {
    AppendBytes(out_,
                {PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value))});
  }
  return true;
}

bool Renderer::Value(PyObject* name, PyObject* value) {
  return Render(name, value) || Explained(name, value);
}

bool Renderer::Account(PyObject* name, PyObject* value) {
  return Visit(name, value) || Explained(name, value);
}

bool Renderer::Explained(PyObject* name, PyObject* value) {
  if (PyErr_ExceptionMatches(PyExc_RecursionError) == 0) return false;
  PyObject *type, *error, *trace;
  PyErr_Fetch(&type, &error, &trace);
  Ref reply;
  if (const Ref identify = Ref::Borrow(identify_)) {
    PyObject* arguments[] = {name, value};
    reply = Ref::Steal(PyObject_Vectorcall(identify.get(), arguments, 2, nullptr));
  }
  if (reply || PyErr_Occurred() == nullptr) {
    PyErr_Restore(type, error, trace);
    return false;
  }
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(trace);
  return false;
}

bool Renderer::Render(PyObject* name, PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  if (IsScalar(type)) return Scalar(value);
  if (type == &PyTuple_Type) return Sequence(name, value, '(', ')');
  if (type == &PyList_Type) return Sequence(name, value, '[', ']');
  if (type == &PyDict_Type) return Dict(name, value);
  if (type == &PySet_Type || type == &PyFrozenSet_Type) return Set(name, value);
  return Identify(name, value);
}

bool Renderer::Sequence(PyObject* name, PyObject* value, char open, char close) {
  const Recursion recursion;
  if (!recursion) return false;
  out_ += open;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); ++i) {
    if (i != 0) out_ += ',';
    const Ref member = Ref::Borrow(PySequence_Fast_GET_ITEM(value, i));
    if (!Render(name, member.get())) return false;
  }
  out_ += close;
  return true;
}

bool Renderer::Dict(PyObject* name, PyObject* value) {
  const Recursion recursion;
  if (!recursion) return false;
  std::vector<std::pair<Ref, Ref>> members;
  PyObject* key = nullptr;
  PyObject* member = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(value, &position, &key, &member) != 0;) {
    members.emplace_back(Ref::Borrow(key), Ref::Borrow(member));
  }
  // Fingerprints are combined in the order of the texts, not of insertion.
  std::vector<std::pair<std::string, std::uint64_t>> texts;
  for (const auto& [k, v] : members) {
    std::string text;
    Renderer part(text, identify_);
    if (!part.Render(name, k.get())) return false;
    text += '=';
    if (!part.Render(name, v.get())) return false;
    texts.emplace_back(std::move(text), part.identity());
  }
  return Sorted(texts, "{", "}");
}

bool Renderer::Set(PyObject* name, PyObject* value) {
  const Recursion recursion;
  const Ref members = recursion ? Ref::Steal(PySequence_Tuple(value)) : Ref();
  if (!members) return false;
  std::vector<std::pair<std::string, std::uint64_t>> texts;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(members.get()); ++i) {
    std::string text;
    Renderer part(text, identify_);
    if (!part.Render(name, PyTuple_GET_ITEM(members.get(), i))) return false;
    texts.emplace_back(std::move(text), part.identity());
  }
  return Sorted(texts, PyFrozenSet_CheckExact(value) ? "f{|" : "{|", "|}");
}

bool Renderer::Sorted(std::vector<std::pair<std::string, std::uint64_t>>& texts,
                      std::string_view open, std::string_view close) {
  std::sort(texts.begin(), texts.end());
  out_ += open;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i != 0) out_ += ',';
    out_ += texts[i].first;
    Combine(texts[i].second);
  }
  out_ += close;
  return true;
}

bool Renderer::Identify(PyObject* name, PyObject* value) {
  const Ref identify = Ref::Borrow(identify_);
  if (!identify) {
    PyErr_SetString(PyExc_RuntimeError, "the key plan has been cleared");
    return false;
  }
  PyObject* arguments[] = {name, value};
  const Ref reply = Ref::Steal(PyObject_Vectorcall(identify.get(), arguments, 2, nullptr));
  if (!reply) return false;
  if (!PyTuple_CheckExact(reply.get()) || PyTuple_GET_SIZE(reply.get()) != 2 ||
      !PyBytes_Check(PyTuple_GET_ITEM(reply.get(), 0)) ||
      !PyLong_Check(PyTuple_GET_ITEM(reply.get(), 1))) {
    PyErr_SetString(PyExc_TypeError, "identify must return (bytes, int)");
    return false;
  }
  PyObject* text = PyTuple_GET_ITEM(reply.get(), 0);
  out_.append(PyBytes_AS_STRING(text), static_cast<std::size_t>(PyBytes_GET_SIZE(text)));
  Combine(PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(reply.get(), 1)));
  return PyErr_Occurred() == nullptr;
}

bool Renderer::Visit(PyObject* name, PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  if (IsScalar(type)) return true;
  const bool is_set = type == &PySet_Type || type == &PyFrozenSet_Type;
  if (is_set || type == &PyTuple_Type || type == &PyList_Type) {
    const Recursion recursion;
    const Ref members = recursion ? Ref::Steal(PySequence_Tuple(value)) : Ref();
    if (!members) return false;
    std::vector<std::uint64_t> marks;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(members.get()); ++i) {
      std::string text;
      Renderer part(text, identify_);
      if (!part.Visit(name, PyTuple_GET_ITEM(members.get(), i))) return false;
      marks.push_back(part.identity());
    }
    if (is_set) std::sort(marks.begin(), marks.end());  // in the order of no one process
    for (const std::uint64_t mark : marks) Combine(mark);
    return true;
  }
  if (type == &PyDict_Type) {
    const Ref keys = Ref::Steal(PyDict_Keys(value));
    const Ref values = Ref::Steal(PyDict_Values(value));
    return keys && values && Visit(name, keys.get()) && Visit(name, values.get());
  }
  if (!HoldsModels(type)) return true;
  std::string text;
  Renderer part(text, identify_);
  if (!part.Identify(Py_None, value)) return false;
  Combine(part.identity());
  return true;
}

void Renderer::Combine(std::uint64_t fingerprint) {
  if (fingerprint == 0) return;
  // One fingerprint stays itself; several depend on their order.
  if (identity_ != 0) identity_ = (identity_ << 7 | identity_ >> 57) * 0x9E3779B97F4A7C15u;
  identity_ += fingerprint;
  if (identity_ == 0) identity_ = 1;
}

}  // namespace smartcache::binding
