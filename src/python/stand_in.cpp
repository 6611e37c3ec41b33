// The interpreter's messages differ from version to version and know suggestions. So a function
// with the same name and parameters, but an empty body, is made and called: the interpreter then
// says what is wrong.
#include "python/stand_in.h"

#include <string>

namespace smartcache::binding {
namespace {

// "def stand_in(a, /, b=None, *, c, **kw): pass"
std::string SourceOf(const PlanParts& parts) {
  std::string source = "def stand_in(";
  const auto name = [&](std::size_t i) { return PyUnicode_AsUTF8(parts.names[i].get()); };
  bool starred = false;
  for (std::size_t i = 0; i < parts.parameters; ++i) {
    if (i >= parts.by_position && !starred) {
      source += parts.varargs ? std::string("*") + name(parts.parameters) + "," : "*,";
      starred = true;
    }
    source += name(i);
    source += parts.defaults[i] ? "=None," : ",";
    if (parts.positional_only != 0 && i + 1 == parts.positional_only) source += "/,";
  }
  if (parts.varargs && !starred) source += std::string("*") + name(parts.parameters) + ",";
  if (parts.varkw) source += std::string("**") + name(parts.names.size() - 1);
  return source + "): pass";
}

// The literal is module and qualified name: what follows the longest imported module.
std::string QualifiedName(const std::string& literal) {
  for (std::size_t dot = literal.rfind('.'); dot != std::string::npos && dot != 0;
       dot = literal.rfind('.', dot - 1)) {
    const Ref module =
        Ref::Steal(PyUnicode_FromStringAndSize(literal.data(), static_cast<Py_ssize_t>(dot)));
    const Ref imported = module ? Ref::Steal(PyImport_GetModule(module.get())) : Ref();
    if (imported) return literal.substr(dot + 1);
    PyErr_Clear();
  }
  return literal;
}

Ref Make(const PlanParts& parts) {
  const Ref scope = Ref::Steal(PyDict_New());
  if (!scope || PyDict_SetItemString(scope.get(), "__builtins__", PyEval_GetBuiltins()) != 0) {
    return {};
  }
  const Ref done =
      Ref::Steal(PyRun_String(SourceOf(parts).c_str(), Py_file_input, scope.get(), scope.get()));
  if (!done) return {};
  Ref made = Ref::Borrow(PyDict_GetItemString(scope.get(), "stand_in"));
  const std::string qualified = QualifiedName(parts.literal);
  const Ref name = Ref::Steal(
      PyUnicode_FromStringAndSize(qualified.data(), static_cast<Py_ssize_t>(qualified.size())));
  if (!made || !name || PyObject_SetAttrString(made.get(), "__qualname__", name.get()) != 0) {
    return {};
  }
  return made;
}

}  // namespace

void RaiseForWrongArguments(const PlanParts& parts, const Call& call) {
  const Ref stand_in = Make(parts);
  if (!stand_in) return;
  const Ref result = Ref::Steal(PyObject_Vectorcall(
      stand_in.get(), call.args, static_cast<std::size_t>(call.positional), call.names));
  if (result) {
    PyErr_Format(PyExc_TypeError, "%s() was called with wrong arguments", parts.literal.c_str());
  }
}

}  // namespace smartcache::binding
