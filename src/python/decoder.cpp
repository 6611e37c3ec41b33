// Native payloads into Python values; the counterpart of encoder.cpp.

#include <utility>
#include <vector>

#include "entry/codec/codec.h"
#include "python/class_table.h"
#include "python/collector.h"
#include "python/columns.h"
#include "python/interrupts.h"
#include "python/payload.h"
#include "python/rows.h"
#include "python/scalars.h"
#include "python/text_memo.h"

namespace smartcache::binding {
namespace {

using codec::ColumnType;
using codec::Type;

constexpr std::size_t kFewTexts = 32;  // as many as most values share, in one piece of memory

class Decoder {
 public:
  explicit Decoder(std::string_view payload) : reader_(payload) {}

  PyObject* Decode() {
    Ref value = Value();
    if (value && reader_.Next() == Type::kEnd) return value.release();
    (void)ClearException();
    return nullptr;
  }

 private:
  // None on failure, perhaps with an exception.
  Ref Value() {
    switch (reader_.Next()) {
      case Type::kInvalid:
      case Type::kEnd:
        return {};
      case Type::kNone:
        reader_.ReadNone();
        return Ref::Borrow(Py_None);
      case Type::kBool:
        return Ref::Borrow(reader_.ReadBool() ? Py_True : Py_False);
      case Type::kInt:
        return Ref::Steal(PyLong_FromLongLong(reader_.ReadInt()));
      case Type::kBigInt:
        return Ref::Steal(MakeBigInt(reader_.ReadBigInt()));
      case Type::kFloat:
        return Ref::Steal(PyFloat_FromDouble(reader_.ReadFloat()));
      case Type::kText:
        return Text(reader_.ReadText());
      case Type::kBytes: {
        const std::string_view bytes = reader_.ReadBytes();
        return Ref::Steal(
            PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
      }
      case Type::kDate:
        return Ref::Steal(MakeDate(reader_.ReadDate()));
      case Type::kDateTime:
        return Ref::Steal(MakeDateTime(reader_.ReadDateTime()));
      case Type::kTime:
        return Ref::Steal(MakeTime(reader_.ReadTime()));
      case Type::kTimeDelta:
        return Ref::Steal(MakeTimeDelta(reader_.ReadTimeDelta()));
      case Type::kDecimal:
        return Ref::Steal(MakeDecimal(reader_.ReadDecimal()));
      case Type::kUuid: {
        const codec::Uuid uuid = reader_.ReadUuid();
        return Ref::Steal(MakeUuid({reinterpret_cast<const char*>(uuid.data()), uuid.size()}));
      }
      case Type::kList:
        return List();
      case Type::kTuple:
        return Tuple();
      case Type::kDict:
        return Dict();
      case Type::kSet:
        return Set(Number(Ref::Steal(PySet_New(nullptr))));
      case Type::kFrozenSet:
        return Set(Ref::Steal(PyFrozenSet_New(nullptr)));
      case Type::kBackRef: {
        const std::uint64_t number = reader_.ReadBackRef();
        return number < objects_.size() ? objects_[number] : Ref();
      }
      case Type::kTagged:
        return reader_.ReadTagged() == kTagQuerySet ? QuerySet() : Ref();
      case Type::kRows:
        return Rows();
    }
    return {};
  }

  Ref Text(const codec::Text& text) {
    return Shared(text, [](std::string_view bytes) { return Ref::Steal(MakeText(bytes)); });
  }
  Ref Key() {
    return reader_.Next() == Type::kText ? Shared(reader_.ReadText(), MemoText) : Value();
  }

  template <class Make>
  Ref Shared(const codec::Text& text, Make make) {
    if (text.index == codec::kNotShared) return make(text.bytes);
    if (texts_.capacity() == 0) texts_.reserve(kFewTexts);
    if (texts_.size() <= text.index) texts_.resize(text.index + std::size_t{1});
    if (!texts_[text.index]) texts_[text.index] = make(text.bytes);
    return texts_[text.index];
  }

  Ref Number(Ref object) {
    objects_.push_back(object);
    return object;
  }

  Ref List() {
    const std::size_t size = reader_.ReadCount();
    Ref list = Number(Ref::Steal(PyList_New(0)));
    if (!list || !reader_.ok()) return {};
    for (std::size_t i = 0; i < size; ++i) {
      const Ref member = Value();
      if (!member || PyList_Append(list.get(), member.get()) != 0) return {};
    }
    return list;
  }

  Ref Tuple() {
    const std::size_t size = reader_.ReadCount();
    if (!reader_.ok()) return {};
    std::vector<Ref> members(size);
    for (Ref& member : members) {
      member = Value();
      if (!member) return {};
    }
    Ref tuple = Ref::Steal(PyTuple_New(static_cast<Py_ssize_t>(size)));
    for (std::size_t i = 0; tuple && i < size; ++i) {
      PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), members[i].release());
    }
    return tuple;
  }

  Ref Dict() {
    const std::size_t size = reader_.ReadCount();
    Ref dict = Number(Ref::Steal(PyDict_New()));
    if (!dict || !reader_.ok()) return {};
    for (std::size_t i = 0; i < size; ++i) {
      const Ref key = Key();
      const Ref member = key ? Value() : Ref();
      if (!member || PyDict_SetItem(dict.get(), key.get(), member.get()) != 0) return {};
    }
    return dict;
  }

  Ref Set(Ref set) {
    const std::size_t size = reader_.ReadCount();
    if (!set || !reader_.ok()) return {};
    for (std::size_t i = 0; i < size; ++i) {
      const Ref member = Value();
      if (!member || PySet_Add(set.get(), member.get()) != 0) return {};
    }
    return set;
  }

  Ref QuerySet() {
    const std::size_t number = objects_.size();
    objects_.emplace_back();  // nothing inside refers to the queryset itself but by the shell
    if (reader_.Next() != Type::kTuple || reader_.ReadCount() != 3 ||
        reader_.Next() != Type::kInt) {
      return {};
    }
    const std::int64_t codec = reader_.ReadInt();
    if (codec < 0 || codec > UINT8_MAX || reader_.Next() != Type::kBytes) return {};
    const std::string_view shell = reader_.ReadBytes();
    if (!reader_.ok()) return {};
    Ref query_set = Ref::Steal(CallLoads(shell, static_cast<std::uint8_t>(codec)));
    if (!query_set || ClassOf(Py_TYPE(query_set.get())).kind != ClassKind::kQuerySet) return {};
    objects_[number] = query_set;
    const Ref results = Value();
    const Ref dict =
        results ? Ref::Steal(PyObject_GenericGetDict(query_set.get(), nullptr)) : Ref();
    if (!dict || !PyList_CheckExact(results.get()) ||
        PyDict_SetItem(dict.get(), AttributeNames().result_cache, results.get()) != 0) {
      return {};
    }
    return query_set;
  }

  Ref Rows() {
    const codec::RowsHeader header = reader_.ReadRows();
    if (!reader_.ok()) return {};
    const std::size_t rows = header.count;
    const CollectorPause pause(rows);
    const bool dicts = header.label.bytes.empty();
    const bool is_list = (header.flags & kRowsAreList) != 0;
    if ((!is_list && rows != 1) || (dicts && !header.related.empty())) return {};
    Ref list = is_list ? Number(Ref::Steal(PyList_New(0))) : Ref();
    std::vector<Ref> attributes(rows);  // the dict of each row
    std::vector<Ref> caches;
    const Ref first = dicts ? MakeDicts(attributes) : MakeInstances(header, attributes, caches);
    if (!first && rows != 0) return {};
    if (list) {
      const std::size_t base = objects_.size() - rows;
      for (std::size_t i = 0; i < rows; ++i) {
        if (PyList_Append(list.get(), objects_[base + i].get()) != 0) return {};
      }
    } else {
      list = first;
    }
    for (const codec::Text& field : header.fields) {
      if (!Column(Name(field), attributes)) return {};
    }
    for (const codec::Text& field : header.related) {
      if (!Column(Name(field), caches)) return {};
    }
    return list;
  }

  Ref Name(const codec::Text& text) {
    PyObject* name = Text(text).release();
    if (name != nullptr) PyUnicode_InternInPlace(&name);
    return Ref::Steal(name);
  }

  Ref MakeDicts(std::vector<Ref>& attributes) {
    for (Ref& row : attributes) {
      row = Number(Ref::Steal(PyDict_New()));
      if (!row) return {};
    }
    return attributes.empty() ? Ref() : attributes[0];
  }

  // Instances without fields yet, numbered: columns may refer to any of them.
  Ref MakeInstances(const codec::RowsHeader& header, std::vector<Ref>& attributes,
                    std::vector<Ref>& caches) {
    const Names& names = AttributeNames();
    const Ref model = ModelOfLabel(std::string(header.label.bytes));
    if (!model) return {};
    PyObject* state_class = ModelState();
    const Ref none = Ref::Steal(PyTuple_New(0));
    const Ref alias = header.alias.bytes.empty() ? Ref::Borrow(Py_None) : Text(header.alias);
    const unsigned mode = header.flags >> kFetchModeShift;
    PyObject* fetch_mode = FetchMode(mode);
    if (state_class == nullptr || !none || !alias || (mode != 0 && fetch_mode == nullptr)) {
      return {};
    }
    PyObject* adding = (header.flags & kRowsAdding) != 0 ? Py_True : Py_False;
    auto* type = reinterpret_cast<PyTypeObject*>(model.get());
    auto* state_type = reinterpret_cast<PyTypeObject*>(state_class);
    caches.resize(attributes.size());
    Ref first;
    for (std::size_t i = 0; i < attributes.size(); ++i) {
      const Ref made = Number(Ref::Steal(type->tp_new(type, none.get(), nullptr)));
      const Ref state =
          made ? Ref::Steal(state_type->tp_new(state_type, none.get(), nullptr)) : Ref();
      if (!state) return {};
      const Ref state_dict = Ref::Steal(PyObject_GenericGetDict(state.get(), nullptr));
      attributes[i] = Ref::Steal(PyObject_GenericGetDict(made.get(), nullptr));
      caches[i] = Ref::Steal(PyDict_New());
      if (!state_dict || !attributes[i] || !caches[i] ||
          PyDict_SetItem(attributes[i].get(), names.state, state.get()) != 0 ||
          (fetch_mode != nullptr &&
           PyDict_SetItem(state_dict.get(), names.fetch_mode, fetch_mode) != 0) ||
          PyDict_SetItem(state_dict.get(), names.adding, adding) != 0 ||
          PyDict_SetItem(state_dict.get(), names.db, alias.get()) != 0 ||
          PyDict_SetItem(state_dict.get(), names.fields_cache, caches[i].get()) != 0) {
        return {};
      }
      if (i == 0) first = made;
    }
    return first;
  }

  bool Column(const Ref& name, const std::vector<Ref>& dicts) {
    std::vector<std::uint8_t> nulls;
    const ColumnType type = reader_.ReadColumn(nulls);
    if (!name || !reader_.ok() || type == ColumnType::kInvalid) return false;
    const std::size_t rows = dicts.size();
    const auto is_null = [&](std::size_t i) {
      return type == ColumnType::kNull || (!nulls.empty() && nulls[i] != 0);
    };
    const auto put = [&](std::size_t i, PyObject* value) {
      return PyDict_SetItem(dicts[i].get(), name.get(), value) == 0;
    };
    if (type == ColumnType::kNull || type == ColumnType::kValues) {
      for (std::size_t i = 0; i < rows; ++i) {
        const Ref value = is_null(i) ? Ref::Borrow(Py_None) : Value();
        if (!value || !put(i, value.get())) return false;
      }
      return true;
    }
    if (type == ColumnType::kSpread) {
      const Ref list = Value();
      if (!list || !PyList_CheckExact(list.get())) return false;
      Py_ssize_t next = 0;
      for (std::size_t i = 0; i < rows; ++i) {
        if (!is_null(i) && next >= PyList_GET_SIZE(list.get())) return false;
        if (!put(i, is_null(i) ? Py_None : PyList_GET_ITEM(list.get(), next++))) return false;
      }
      return next == PyList_GET_SIZE(list.get());
    }
    std::vector<Ref> values;
    if (!columns_.Read(reader_, type, nulls, rows, values)) return false;
    for (std::size_t i = 0; i < rows; ++i) {
      if (!put(i, values[i].get())) return false;
    }
    return true;
  }

  codec::Reader reader_;
  ColumnReader columns_;
  std::vector<Ref> texts_;
  std::vector<Ref> objects_;
};

}  // namespace

PyObject* DecodeNative(std::string_view payload) { return Decoder(payload).Decode(); }

}  // namespace smartcache::binding
