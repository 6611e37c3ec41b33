// How instances lie in a rows block (entry/codec): what the encoder and the decoder must agree
// about. Needs the GIL.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>

#include "python/ref.h"

namespace smartcache::binding {

// RowsHeader::flags.
inline constexpr std::uint8_t kRowsAreList =
    1;  // the block is a list; else it has one row, which is the value
inline constexpr std::uint8_t kRowsAdding = 2;  // _state.adding
inline constexpr unsigned kFetchModeShift = 2;  // two bits: FetchMode's index
inline constexpr unsigned kFetchModes = 4;      // none, FETCH_ONE, FETCH_PEERS, FETCH_RAISE

// Tags of tagged values.
inline constexpr std::uint8_t kTagQuerySet = 1;  // (codec, shell, rows): see encoder.cpp

// Label of a model class with a hash of its concrete fields: instances of a class that has changed
// since are undecodable. Null with an exception if it has none.
[[nodiscard]] Ref RowsLabel(PyTypeObject* model);
// The class to which RowsLabel gives `label`; null if there is none any more.
[[nodiscard]] Ref ModelOfLabel(const std::string& label);

// Borrowed: Django's fetch mode of an index 1..3, and ModelState. Null, without an exception, if
// this Django has none.
[[nodiscard]] PyObject* FetchMode(unsigned index);
[[nodiscard]] PyObject* ModelState();

// Interned attribute names.
struct Names {
  PyObject* state;  // "_state"
  PyObject* fields_cache;
  PyObject* db;
  PyObject* adding;
  PyObject* fetch_mode;
  PyObject* peers;
  PyObject* result_cache;  // "_result_cache"
};
[[nodiscard]] const Names& AttributeNames();

}  // namespace smartcache::binding
