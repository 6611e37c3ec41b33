#include "python/blueprint.h"

#include "python/class_table.h"
#include "python/collector.h"

namespace smartcache::binding {
PyObject* Blueprint::BuildTree() const {
  const CollectorPause pause(nodes_.size());
  Memo memo(memo_size_);
  return BuildNode(root_, memo);
}

PyObject* Blueprint::BuildNode(std::uint32_t at, Memo& memo) const {
  const Node& node = nodes_[at];
  switch (node.kind) {
    case Kind::kDict: {
      PyObject* made = PyDict_Copy(node.members.get());
      if (made == nullptr) return nullptr;
      Note(node, memo, made);
      if (node.children != 0 && !Complete(made, node, memo)) {
        Py_DECREF(made);
        return nullptr;
      }
      return made;
    }
    case Kind::kList:
      return BuildList(node, memo);
    case Kind::kTuple:
      return BuildTuple(node, memo);
    case Kind::kObject:
      return BuildObject(node, memo);
    case Kind::kSet: {
      PyObject* made = PySet_New(node.members.get());
      if (made != nullptr) Note(node, memo, made);
      return made;
    }
    case Kind::kAgain:
      return Py_NewRef(memo[node.again]);
  }
  Py_UNREACHABLE();
}

PyObject* Blueprint::BuildList(const Node& node, Memo& memo) const {
  PyObject* members = node.members.get();
  const Py_ssize_t size = PyTuple_GET_SIZE(members);
  PyObject* made = PyList_New(size);
  if (made == nullptr) return nullptr;
  // The collector's API shows the list to anyone while it is filled: no empty places.
  for (Py_ssize_t i = 0; i < size; ++i) {
    PyList_SET_ITEM(made, i, Py_NewRef(PyTuple_GET_ITEM(members, i)));
  }
  Note(node, memo, made);
  for (std::uint32_t i = 0; i < node.children; ++i) {
    const Child& child = children_[node.first_child + i];
    PyObject* member = BuildNode(child.node, memo);
    if (member == nullptr || PyList_SetItem(made, child.index, member) != 0) {
      Py_DECREF(made);
      return nullptr;
    }
  }
  return made;
}

PyObject* Blueprint::BuildTuple(const Node& node, Memo& memo) const {
  PyObject* members = node.members.get();
  const Py_ssize_t size = PyTuple_GET_SIZE(members);
  auto* type = reinterpret_cast<PyTypeObject*>(node.type.get());
  PyObject* made = type == nullptr ? PyTuple_New(size) : type->tp_alloc(type, size);
  if (made == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < size; ++i) {
    PyTuple_SET_ITEM(made, i, Py_NewRef(PyTuple_GET_ITEM(members, i)));
  }
  for (std::uint32_t i = 0; i < node.children; ++i) {
    const Child& child = children_[node.first_child + i];
    PyObject* member = BuildNode(child.node, memo);
    if (member == nullptr) {
      Py_DECREF(made);
      return nullptr;
    }
    PyObject* placeholder = PyTuple_GET_ITEM(made, child.index);
    PyTuple_SET_ITEM(made, child.index, member);
    Py_DECREF(placeholder);
  }
  Note(node, memo, made);
  return made;
}

PyObject* Blueprint::BuildObject(const Node& node, Memo& memo) const {
  static PyObject* no_arguments = PyTuple_New(0);
  auto* type = reinterpret_cast<PyTypeObject*>(node.type.get());
  PyObject* made = type->tp_new(type, no_arguments, nullptr);
  if (made == nullptr) return nullptr;
  Note(node, memo, made);
  PyObject* dict = PyDict_Copy(node.members.get());
  const bool complete =
      dict != nullptr && (node.children == 0 || Complete(dict, node, memo)) && SetDict(made, dict);
  Py_XDECREF(dict);
  if (complete) return made;
  Py_DECREF(made);
  return nullptr;
}

// Puts copies of the children into `dict`, a copy of the node's members.
bool Blueprint::Complete(PyObject* dict, const Node& node, Memo& memo) const {
  for (std::uint32_t i = 0; i < node.children; ++i) {
    const Child& child = children_[node.first_child + i];
    PyObject* member = BuildNode(child.node, memo);
    if (member == nullptr) return false;
    const int failed = PyDict_SetItem(dict, child.key.get(), member);
    Py_DECREF(member);
    if (failed != 0) return false;
  }
  return true;
}

}  // namespace smartcache::binding
