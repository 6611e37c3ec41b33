// Python values into native payloads. Lists, dicts, sets, instances and querysets are numbered in
// the order in which they are begun (of a rows block: the list, then its rows), so that an object
// met again is a reference to its number. The decoder counts alike.
//
// User code may run on the way (dumps of a queryset, label_of) and change what is being walked:
// members are held, and a container that does not keep its word makes the Writer fail.

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "entry/codec/codec.h"
#include "python/class_table.h"
#include "python/columns.h"
#include "python/payload.h"
#include "python/rows.h"
#include "python/scalars.h"

namespace smartcache::binding {
namespace {

// Each queryset carries its pickled query, some kilobytes: a value with many is smaller as one
// pickle.
constexpr int kMaxQuerySets = 4;
// Shorter lists of dicts gain nothing from columns.
constexpr std::size_t kMinDictRows = 3;

// How many references to a member its container and the walk account for.
constexpr Py_ssize_t kUnknown = 0;
constexpr Py_ssize_t kHeld = 2;

using Members = std::vector<Ref>;

// What all rows of a block have in common, and their values column by column.
struct Layout {
  std::vector<Ref> fields;
  std::vector<Ref> related;
  std::vector<Members> columns;  // of fields, then of related
  Ref alias = Ref::Borrow(Py_None);
  std::uint8_t flags = 0;
};

bool SameKeys(PyObject* dict, const std::vector<Ref>& names, PyObject* except) {
  std::size_t at = 0;
  PyObject* key = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, nullptr) != 0;) {
    if (key == except) continue;
    if (at == names.size()) return false;
    PyObject* name = names[at].get();
    if (key != name && (!PyUnicode_CheckExact(key) || PyUnicode_Compare(key, name) != 0)) {
      return false;
    }
    ++at;
  }
  return at == names.size();
}

// Names of `dict` without `except`; false if one is not a str.
bool TakeKeys(PyObject* dict, PyObject* except, std::vector<Ref>& names) {
  PyObject* key = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, nullptr) != 0;) {
    if (key == except) continue;
    if (!PyUnicode_CheckExact(key)) return false;
    names.push_back(Ref::Borrow(key));
  }
  return true;
}

void TakeValues(PyObject* dict, PyObject* except, std::vector<Members>& columns,
                std::size_t first) {
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value) != 0;) {
    if (key != except) columns[first++].push_back(Ref::Borrow(value));
  }
}

class Encoder {
 public:
  std::optional<std::string> Encode(PyObject* value) {
    if (!Value(value, 0, kUnknown) || !writer_.ok()) return std::nullopt;
    std::string payload = writer_.Take();
    if (payload.empty()) return std::nullopt;
    return payload;
  }

 private:
  // False, perhaps with an exception: the native codec does not cover the value.
  bool Value(PyObject* value, std::size_t depth, Py_ssize_t holders) {
    if (const Scalar scalar = ScalarOf(value); scalar != Scalar::kNo) {
      return WriteScalar(writer_, scalar, value);
    }
    if (depth >= codec::kMaxDepth || !writer_.ok()) return false;
    const ClassKind kind = ClassOf(Py_TYPE(value)).kind;
    if (kind == ClassKind::kTuple) return Tuple(value, depth);
    if (kind == ClassKind::kFrozenSet) return Set(value);
    if (kind == ClassKind::kOther || kind == ClassKind::kKeep) return false;
    if (const auto met = met_.find(value); met != met_.end()) {
      writer_.WriteBackRef(met->second.number);
      return true;
    }
    switch (kind) {
      case ClassKind::kList:
        return List(value, depth, holders);
      case ClassKind::kDict:
        return Dict(value, depth, holders);
      case ClassKind::kSet:
        Number(value, holders);
        return Set(value);
      case ClassKind::kModel: {
        Members one;
        one.push_back(Ref::Borrow(value));
        return Rows(one, depth, /*flags=*/0, holders + 1);
      }
      case ClassKind::kQuerySet:
        return QuerySet(value, depth, holders);
      default:
        return false;
    }
  }

  void Number(PyObject* value, Py_ssize_t holders) {
    if (Py_REFCNT(value) > holders) met_.try_emplace(value, Met{next_, Ref::Borrow(value)});
    ++next_;
  }

  bool Tuple(PyObject* value, std::size_t depth) {
    const Py_ssize_t size = PyTuple_GET_SIZE(value);
    writer_.WriteTuple(static_cast<std::size_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
      if (!Value(PyTuple_GET_ITEM(value, i), depth + 1, 1)) return false;
    }
    return true;
  }

  bool List(PyObject* value, std::size_t depth, Py_ssize_t holders) {
    Members members;
    members.reserve(static_cast<std::size_t>(PyList_GET_SIZE(value)));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); ++i) {
      members.push_back(Ref::Borrow(PyList_GET_ITEM(value, i)));
    }
    Number(value, holders);
    return ListOf(members, depth);
  }

  // The members of a list that has been numbered.
  bool ListOf(const Members& members, std::size_t depth) {
    if (!members.empty()) {
      const ClassKind kind = ClassOf(Py_TYPE(members[0].get())).kind;
      const bool dicts = kind == ClassKind::kDict && members.size() >= kMinDictRows;
      if ((dicts || kind == ClassKind::kModel) && AllNew(members, kHeld)) {
        Layout layout;
        if (dicts ? LayOutDicts(members, layout) : LayOut(members, layout)) {
          layout.flags |= kRowsAreList;
          return Block(members, layout, dicts, depth, kHeld);
        }
        if (PyErr_Occurred() != nullptr) return false;
      }
    }
    writer_.WriteList(members.size());
    for (const Ref& member : members) {
      if (!Value(member.get(), depth + 1, kHeld)) return false;
    }
    return true;
  }

  bool Dict(PyObject* value, std::size_t depth, Py_ssize_t holders) {
    Number(value, holders);
    writer_.WriteDict(static_cast<std::size_t>(PyDict_GET_SIZE(value)));
    PyObject* key = nullptr;
    PyObject* member = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(value, &position, &key, &member) != 0;) {
      if (PyUnicode_CheckExact(key) == 0 && !Hashable(key)) return false;
      const Ref held = Ref::Borrow(member);
      if (!Value(key, depth + 1, 1) || !Value(held.get(), depth + 1, kHeld)) return false;
    }
    return true;
  }

  // Whether a member of a set, or a key, is of plain values alone: others might hash by what they
  // do not yet have when the decoder makes them.
  bool Hashable(PyObject* value) {
    if (ScalarOf(value) != Scalar::kNo) return true;
    if (PyFrozenSet_CheckExact(value)) return true;  // Set checks its members
    if (!PyTuple_CheckExact(value)) return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); ++i) {
      if (!Hashable(PyTuple_GET_ITEM(value, i))) return false;
    }
    return true;
  }

  bool Set(PyObject* value) {
    const Ref members = Ref::Steal(PySequence_Tuple(value));
    if (!members || ++sets_ > codec::kMaxDepth) return false;
    const auto size = static_cast<std::size_t>(PyTuple_GET_SIZE(members.get()));
    PyFrozenSet_CheckExact(value) ? writer_.WriteFrozenSet(size) : writer_.WriteSet(size);
    for (std::size_t i = 0; i < size; ++i) {
      PyObject* member = PyTuple_GET_ITEM(members.get(), static_cast<Py_ssize_t>(i));
      if (!Hashable(member) || !Value(member, 1, kUnknown)) return false;
    }
    --sets_;
    return true;
  }

  // Tagged: (codec, dumps of the queryset without its results, list of the results).
  bool QuerySet(PyObject* value, std::size_t depth, Py_ssize_t holders) {
    if (++query_sets_ > kMaxQuerySets) return false;
    Number(value, holders);
    const Ref query =
        Ref::Steal(PyObject_GetAttrString(value, "query"));  // applies a deferred filter
    const Ref fetched =
        query ? Ref::Steal(PyObject_CallMethod(value, "_fetch_all", nullptr)) : Ref();
    const Ref dict = fetched ? Ref::Steal(PyObject_GenericGetDict(value, nullptr)) : Ref();
    if (!dict) return false;
    const Ref results =
        Ref::Borrow(PyDict_GetItemWithError(dict.get(), AttributeNames().result_cache));
    if (!results || !PyList_CheckExact(results.get())) return false;
    const Ref shell = Shell(value, dict.get());
    const std::optional<Payload> dumped = shell ? CallDumps(shell.get()) : std::nullopt;
    if (!dumped) return false;
    writer_.WriteTagged(kTagQuerySet);
    writer_.WriteTuple(3);
    writer_.WriteInt(dumped->codec);
    writer_.WriteBytes(dumped->bytes);
    return Value(results.get(), depth + 2, kHeld);
  }

  // A queryset that differs from `value` only in having no results.
  static Ref Shell(PyObject* value, PyObject* dict) {
    PyTypeObject* type = Py_TYPE(value);
    const Ref none = Ref::Steal(PyTuple_New(0));
    Ref shell = none ? Ref::Steal(type->tp_new(type, none.get(), nullptr)) : Ref();
    const Ref copy = Ref::Steal(PyDict_Copy(dict));
    const Ref list = Ref::Steal(PyList_New(0));
    const Ref known = Ref::Steal(PyDict_New());
    const Ref hints = Ref::Steal(PyDict_New());
    if (!shell || !copy || !list || !known || !hints ||
        PyDict_SetItemString(copy.get(), "_result_cache", list.get()) != 0 ||
        PyDict_SetItemString(copy.get(), "_known_related_objects", known.get()) != 0 ||
        PyDict_SetItemString(copy.get(), "_hints", hints.get()) != 0 ||
        PyDict_SetItemString(copy.get(), "_prefetch_done", Py_True) != 0 ||
        !SetDict(shell.get(), copy.get())) {
      return {};
    }
    return shell;
  }

  // No member has a number yet, and none comes twice.
  bool AllNew(const Members& members, Py_ssize_t holders) {
    std::vector<PyObject*> seen;
    for (const Ref& member : members) {
      if (Py_REFCNT(member.get()) <= holders) continue;
      if (met_.contains(member.get())) return false;
      seen.push_back(member.get());
    }
    std::sort(seen.begin(), seen.end());
    return std::adjacent_find(seen.begin(), seen.end()) == seen.end();
  }

  static bool LayOutDicts(const Members& members, Layout& layout) {
    if (!TakeKeys(members[0].get(), nullptr, layout.fields)) return false;
    layout.columns.resize(layout.fields.size());
    for (const Ref& member : members) {
      if (!PyDict_CheckExact(member.get()) || !SameKeys(member.get(), layout.fields, nullptr)) {
        return false;
      }
      TakeValues(member.get(), nullptr, layout.columns, 0);
    }
    return true;
  }

  // False: the instances do not have one layout, or a state that the block has no place for.
  static bool LayOut(const Members& members, Layout& layout) {
    const Names& names = AttributeNames();
    PyTypeObject* type = Py_TYPE(members[0].get());
    for (std::size_t row = 0; row < members.size(); ++row) {
      if (Py_TYPE(members[row].get()) != type) return false;
      const Ref dict = Ref::Steal(PyObject_GenericGetDict(members[row].get(), nullptr));
      if (!dict) return false;
      PyObject* state = PyDict_GetItemWithError(dict.get(), names.state);
      if (state == nullptr || ClassOf(Py_TYPE(state)).kind != ClassKind::kModelState) return false;
      const Ref state_dict = Ref::Steal(PyObject_GenericGetDict(state, nullptr));
      if (!state_dict) return false;
      Ref cache = Ref::Borrow(PyDict_GetItemWithError(state_dict.get(), names.fields_cache));
      if (!cache) cache = Ref::Steal(PyDict_New());
      if (!cache || !PyDict_CheckExact(cache.get())) return false;
      if (row == 0) {
        if (!TakeKeys(dict.get(), names.state, layout.fields) ||
            !TakeKeys(cache.get(), nullptr, layout.related)) {
          return false;
        }
        layout.columns.resize(layout.fields.size() + layout.related.size());
      } else if (!SameKeys(dict.get(), layout.fields, names.state) ||
                 !SameKeys(cache.get(), layout.related, nullptr)) {
        return false;
      }
      if (!LayOutState(state_dict.get(), row == 0, layout)) return false;
      TakeValues(dict.get(), names.state, layout.columns, 0);
      TakeValues(cache.get(), nullptr, layout.columns, layout.fields.size());
    }
    return true;
  }

  static bool LayOutState(PyObject* dict, bool first, Layout& layout) {
    const Names& names = AttributeNames();
    std::uint8_t flags = kRowsAdding;  // the class' default
    PyObject* alias = Py_None;
    PyObject* key = nullptr;
    PyObject* value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value) != 0;) {
      if (PyUnicode_Compare(key, names.adding) == 0) {
        if (value != Py_True && value != Py_False) return false;
        if (value == Py_False) flags &= static_cast<std::uint8_t>(~kRowsAdding);
      } else if (PyUnicode_Compare(key, names.db) == 0) {
        if (value != Py_None && !PyUnicode_CheckExact(value)) return false;
        alias = value;
      } else if (PyUnicode_Compare(key, names.fetch_mode) == 0) {
        const unsigned mode = FetchModeOf(value);
        if (mode == 0) return false;
        flags |= static_cast<std::uint8_t>(mode << kFetchModeShift);
      } else if (PyUnicode_Compare(key, names.fields_cache) != 0 &&
                 PyUnicode_Compare(key, names.peers) != 0) {
        return false;
      }
    }
    if (first) {
      layout.flags = flags;
      layout.alias = Ref::Borrow(alias);
      return true;
    }
    return flags == layout.flags && PyObject_RichCompareBool(alias, layout.alias.get(), Py_EQ) == 1;
  }

  static unsigned FetchModeOf(PyObject* mode) {
    for (unsigned i = 1; i < kFetchModes; ++i) {
      if (FetchMode(i) == mode) return i;
    }
    return 0;
  }

  bool Rows(const Members& members, std::size_t depth, std::uint8_t flags, Py_ssize_t holders) {
    Layout layout;
    if (!LayOut(members, layout)) return false;
    layout.flags |= flags;
    return Block(members, layout, /*dicts=*/false, depth, holders);
  }

  bool Block(const Members& members, Layout& layout, bool dicts, std::size_t depth,
             Py_ssize_t holders) {
    std::vector<Ref> owners;
    codec::RowsHeader header;
    header.flags = layout.flags;
    header.count = static_cast<std::uint32_t>(members.size());
    const Ref label = dicts ? Ref() : RowsLabel(Py_TYPE(members[0].get()));
    if (!dicts && (!label || !View(label, header.label, owners))) return false;
    if (layout.alias.get() != Py_None && !View(layout.alias, header.alias, owners)) return false;
    header.fields.resize(layout.fields.size());
    header.related.resize(layout.related.size());
    for (std::size_t i = 0; i < layout.fields.size(); ++i) {
      if (!View(layout.fields[i], header.fields[i], owners)) return false;
    }
    for (std::size_t i = 0; i < layout.related.size(); ++i) {
      if (!View(layout.related[i], header.related[i], owners)) return false;
    }
    for (const Ref& member : members) Number(member.get(), holders);
    writer_.WriteRows(header);
    for (std::size_t i = 0; i < layout.columns.size(); ++i) {
      if (!Column(layout.columns[i], depth + 1)) return false;
      Members().swap(layout.columns[i]);
    }
    return true;
  }

  static bool View(const Ref& name, codec::Text& text, std::vector<Ref>& owners) {
    return TextOf(name.get(), text.bytes, owners.emplace_back());
  }

  bool Column(const Members& values, std::size_t depth) {
    if (!writer_.ok()) return false;
    switch (columns_.Write(writer_, values)) {
      case ColumnWriter::Outcome::kWritten:
        return true;
      case ColumnWriter::Outcome::kFailed:
        return false;
      case ColumnWriter::Outcome::kMixed:
        break;
    }
    Members present;
    std::vector<std::uint8_t> nulls(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      nulls[i] = values[i].get() == Py_None ? 1 : 0;
      if (nulls[i] == 0) present.push_back(values[i]);
    }
    if (present.size() == values.size()) nulls.clear();
    if (present.size() > 1 && ClassOf(Py_TYPE(present[0].get())).kind == ClassKind::kModel &&
        AllNew(present, kHeld + 1)) {
      // Instances of a relation: one block, if they are alike.
      Layout layout;
      if (LayOut(present, layout)) {
        layout.flags |= kRowsAreList;
        writer_.WriteSpreadColumn(nulls);
        ++next_;  // the list that the decoder makes of them
        return Block(present, layout, /*dicts=*/false, depth, kHeld + 1);
      }
      if (PyErr_Occurred() != nullptr) return false;
    }
    writer_.WriteValueColumn(nulls);
    for (const Ref& value : present) {
      if (!Value(value.get(), depth, kHeld + 1)) return false;
    }
    return true;
  }

  struct Met {
    std::uint64_t number;
    Ref object;  // kept, so that no other object gets its address
  };

  codec::Writer writer_;
  ColumnWriter columns_;
  std::unordered_map<PyObject*, Met> met_;
  std::uint64_t next_ = 0;
  std::size_t sets_ = 0;
  int query_sets_ = 0;
};

}  // namespace

std::optional<std::string> EncodeNative(PyObject* value) { return Encoder().Encode(value); }

}  // namespace smartcache::binding
