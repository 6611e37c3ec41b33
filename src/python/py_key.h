// How the arguments of a call become a key. A plan is compiled once, at decoration; a call binds
// its arguments by position and interned name and renders them into one buffer. Needs the GIL.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "key/key_plan.h"
#include "python/ref.h"

namespace smartcache::binding {

// Arguments as vectorcall passes them.
struct Call {
  PyObject* const* args = nullptr;  // positional, then the values of `names`
  Py_ssize_t positional = 0;
  PyObject* names = nullptr;  // tuple of str, or null
  [[nodiscard]] Py_ssize_t named() const { return names == nullptr ? 0 : PyTuple_GET_SIZE(names); }
};

// A call given as tuple and dict, which it keeps alive.
class UnpackedCall {
 public:
  // False with an exception for keywords that are no str.
  [[nodiscard]] bool Unpack(PyObject* args, PyObject* kwargs);
  [[nodiscard]] const Call& call() const { return call_; }

 private:
  Call call_;
  Ref names_;
  std::vector<Ref> owned_;
  std::vector<PyObject*> flat_;
};

// (key, identity), new reference.
[[nodiscard]] PyObject* KeyTuple(std::string_view key, std::uint64_t identity);

struct KeyField {
  std::size_t argument = 0;
  struct Step {
    bool item = false;  // else an attribute
    Ref name;
  };
  std::vector<Step> path;
};

// What a KeyPlan is made of.
struct PlanParts {
  std::vector<Ref>
      names;  // interned: positional or keyword, then keyword-only, then *varargs, **varkw if any
  std::size_t positional_only = 0;
  std::size_t by_position = 0;  // of `names`, those that can be given so
  std::size_t parameters = 0;   // of `names`, without *varargs and **varkw
  bool varargs = false;
  bool varkw = false;
  std::vector<Ref> defaults;  // one for each parameter, none where there is none
  std::string literal;
  bool automatic = true;              // no template
  std::vector<std::string> literals;  // one more than fields
  std::vector<KeyField> fields;
  Ref identify;
};

class Renderer;

class KeyPlan {
 public:
  explicit KeyPlan(PlanParts parts);
  // Appends the key of `call` to `key`. False with an exception: TypeError as the function itself
  // would raise for wrong arguments, or what identify, an attribute or an item raised.
  [[nodiscard]] bool Render(const Call& call, std::string& key, std::uint64_t& identity) const;
  [[nodiscard]] const PlanParts& parts() const { return parts_; }
  int Visit(visitproc visit, void* arg) const;
  void Clear();

 private:
  struct Bound;
  [[nodiscard]] bool Bind(const Call& call, Bound& bound) const;
  [[nodiscard]] bool BindName(PyObject* name, PyObject* value, Bound& bound) const;
  [[nodiscard]] bool RenderAutomatic(const Bound& bound, Renderer& out) const;
  [[nodiscard]] bool RenderTemplate(const Bound& bound, Renderer& out) const;
  [[nodiscard]] Ref Argument(const Bound& bound, std::size_t index) const;
  void RaiseAsTheFunction(const Call& call) const;

  PlanParts parts_;
  KeyTemplate template_;
  std::vector<std::string>
      labels_;  // automatic: what stands before each argument, "(user_id=" or ",b="
  std::vector<bool> in_fields_;  // arguments whose own value a field renders
};

}  // namespace smartcache::binding
