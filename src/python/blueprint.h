// How to make private copies of one value: a compact tree beside which everything immutable is
// shared by reference. It refers to no mutable object of the value it was drawn from.
//
// Nodes exist for what has to be copied. Members of a copied container that are shared need no
// node: a copy of the container brings them. Objects met twice, and cycles, keep their identity
// inside each copy.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "python/gil.h"
#include "python/ref.h"

namespace smartcache::binding {

class Blueprint final : public Owner {
 public:
  // Draws `value`. Null without an exception: there is something in it that only the serializer can
  // copy. Null with an exception: out of memory, or user code raised. Needs the GIL.
  static std::unique_ptr<Blueprint> Draw(PyObject* value);

  // A private copy, new reference; null with an exception. Runs user code only where a class has
  // its own __new__.
  [[nodiscard]] PyObject* Build() const {
    return nodes_.empty() ? Py_NewRef(shared_.get()) : BuildTree();
  }
  // The value itself, borrowed, where all copies are it; else null.
  [[nodiscard]] PyObject* immutable() const { return nodes_.empty() ? shared_.get() : nullptr; }
  // Bytes, roughly, with the shared objects.
  [[nodiscard]] std::size_t weight() const { return weight_; }

 private:
  friend class Draughtsman;
  enum class Kind : std::uint8_t { kList, kTuple, kDict, kSet, kObject, kAgain };
  static constexpr std::uint32_t kOnce = UINT32_MAX;
  struct Child {
    Py_ssize_t index = 0;  // kList, kTuple
    Ref key;               // kDict, kObject
    std::uint32_t node = 0;
  };
  struct Node {
    Kind kind = Kind::kList;
    std::uint32_t again = kOnce;  // place in the copy's memo; kOnce: met once
    std::uint32_t first_child = 0;
    std::uint32_t children = 0;
    // kList, kTuple: tuple of members. kDict, kObject: dict. kSet: set. None stands where a child
    // goes.
    Ref members;
    Ref type;  // kTuple: of a named tuple, else none. kObject: class
  };
  using Memo = std::vector<PyObject*>;  // borrowed from the copy under construction

  [[nodiscard]] PyObject* BuildTree() const;
  [[nodiscard]] PyObject* BuildNode(std::uint32_t at, Memo& memo) const;
  [[nodiscard]] PyObject* BuildList(const Node& node, Memo& memo) const;
  [[nodiscard]] PyObject* BuildTuple(const Node& node, Memo& memo) const;
  [[nodiscard]] PyObject* BuildObject(const Node& node, Memo& memo) const;
  [[nodiscard]] bool Complete(PyObject* dict, const Node& node, Memo& memo) const;
  static void Note(const Node& node, Memo& memo, PyObject* made) {
    if (node.again != kOnce) memo[node.again] = made;
  }

  Ref shared_;  // the whole value, if it is immutable
  std::vector<Node> nodes_;
  std::vector<Child> children_;
  std::uint32_t root_ = 0;
  std::uint32_t memo_size_ = 0;
  std::size_t weight_ = 0;
};

}  // namespace smartcache::binding
