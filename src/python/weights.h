// Bytes charged to L1 for Python objects: what CPython 3.12 allocates on 64 bits, rounded. A
// budget, not a book.
#pragma once

#include <Python.h>

#include <cstddef>

namespace smartcache::binding {

inline constexpr std::size_t kObjectWeight = 56;     // header, collector's links, a few fields
inline constexpr std::size_t kContainerWeight = 56;  // list or tuple without its members
inline constexpr std::size_t kDictWeight = 136;      // dict and the head of its table
inline constexpr std::size_t kSlotWeight = 32;       // hash, key, value and index of a member

// None and bools, small ints and interned texts are everybody's, but telling costs more than it is
// worth.
inline std::size_t ScalarWeight(PyObject* value) {
  if (PyUnicode_Check(value)) {
    return kObjectWeight + static_cast<std::size_t>(PyUnicode_GET_LENGTH(value)) *
                               static_cast<std::size_t>(PyUnicode_KIND(value));
  }
  if (PyBytes_Check(value)) {
    return kObjectWeight + static_cast<std::size_t>(PyBytes_GET_SIZE(value));
  }
  return 32;
}

}  // namespace smartcache::binding
