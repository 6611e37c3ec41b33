// Renders Python values into a key: plain ones and plain containers of them here, others by the
// package's identify. Needs the GIL; runs user code in identify, so what is being walked is held
// and not trusted to stay.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smartcache::binding {

class Renderer {
 public:
  Renderer(std::string& out, PyObject* identify) : out_(out), identify_(identify) {}
  [[nodiscard]] std::string& out() { return out_; }
  [[nodiscard]] std::uint64_t identity() const { return identity_; }

  // Appends the text of `value`, an argument called `name`. False with an exception; identify is
  // asked for that of a container that is too deep or contains itself.
  [[nodiscard]] bool Value(PyObject* name, PyObject* value);
  // Appends nothing: takes account of the model instances in an argument of which the key shows
  // nothing or a part, for they may be older than the database. Asks identify for the fingerprint
  // alone, with None for the name.
  [[nodiscard]] bool Account(PyObject* name, PyObject* value);

  // Appends the text of None, bool, int, float, str or bytes; false, without an exception, for
  // others.
  [[nodiscard]] bool Scalar(PyObject* value);

 private:
  [[nodiscard]] bool Render(PyObject* name, PyObject* value);
  [[nodiscard]] bool Visit(PyObject* name, PyObject* value);
  // False, with the error that identify has for `value` in place of a RecursionError.
  [[nodiscard]] bool Explained(PyObject* name, PyObject* value);
  [[nodiscard]] bool Sequence(PyObject* name, PyObject* value, char open, char close);
  [[nodiscard]] bool Dict(PyObject* name, PyObject* value);
  [[nodiscard]] bool Set(PyObject* name, PyObject* value);
  [[nodiscard]] bool Identify(PyObject* name, PyObject* value);
  [[nodiscard]] bool Sorted(std::vector<std::pair<std::string, std::uint64_t>>& texts,
                            std::string_view open, std::string_view close);
  void Combine(std::uint64_t fingerprint);

  std::string& out_;
  PyObject* identify_;
  std::uint64_t identity_ = 0;
};

}  // namespace smartcache::binding
