#include "python/columns.h"

#include <cstdlib>

#include "entry/codec/civil.h"

namespace smartcache::binding {
namespace {

using codec::ColumnType;
using codec::kMicrosPerDay;

// Timedeltas of more days do not fit 64 bits as microseconds.
constexpr std::int32_t kMaxDeltaDays = 100'000'000;
constexpr std::int64_t kMaxDeltaMicros = kMaxDeltaDays * kMicrosPerDay;

// One row as a number; false if this row does not fit the column's type.
bool ToInt(ColumnType type, PyObject* value, std::int64_t& out) {
  Ref owner;
  switch (type) {
    case ColumnType::kInt:
      out = PyLong_AsLongLong(value);
      return true;
    case ColumnType::kDate:
      out = ReadDays(value);
      return true;
    case ColumnType::kDateTime:
    case ColumnType::kDateTimeUtc: {
      codec::DateTime moment;
      const codec::ZoneKind zone =
          type == ColumnType::kDateTime ? codec::ZoneKind::kNaive : codec::ZoneKind::kUtc;
      if (!ReadDateTime(value, moment, owner) || moment.fold || moment.zone.kind != zone) {
        return false;
      }
      out = moment.micros;
      return true;
    }
    case ColumnType::kTime: {
      codec::Time time;
      if (!ReadTime(value, time, owner) || time.fold || time.zone.kind != codec::ZoneKind::kNaive) {
        return false;
      }
      out = time.micros;
      return true;
    }
    case ColumnType::kTimeDelta: {
      const codec::TimeDelta delta = ReadTimeDelta(value);
      if (std::abs(delta.days) >= kMaxDeltaDays) return false;
      out = delta.days * kMicrosPerDay + delta.seconds * std::int64_t{1'000'000} + delta.micros;
      return true;
    }
    default:
      return false;
  }
}

// kNull for none of the types that are stored as numbers.
ColumnType IntTypeOf(Scalar scalar, PyObject* first) {
  switch (scalar) {
    case Scalar::kInt:
      return ColumnType::kInt;
    case Scalar::kDate:
      return ColumnType::kDate;
    case Scalar::kTime:
      return ColumnType::kTime;
    case Scalar::kTimeDelta:
      return ColumnType::kTimeDelta;
    case Scalar::kDateTime: {
      codec::DateTime moment;
      Ref owner;
      const bool utc =
          ReadDateTime(first, moment, owner) && moment.zone.kind == codec::ZoneKind::kUtc;
      return utc ? ColumnType::kDateTimeUtc : ColumnType::kDateTime;
    }
    default:
      return ColumnType::kNull;
  }
}

ColumnType TextTypeOf(Scalar scalar) {
  switch (scalar) {
    case Scalar::kText:
      return ColumnType::kText;
    case Scalar::kBytes:
      return ColumnType::kBytes;
    case Scalar::kDecimal:
      return ColumnType::kDecimal;
    case Scalar::kUuid:
      return ColumnType::kUuid;
    default:
      return ColumnType::kNull;
  }
}

PyObject* FromInt(ColumnType type, std::int64_t value) {
  const bool day_fits = value >= codec::kMinDays && value <= codec::kMaxDays;
  const bool moment_fits =
      value >= codec::kMinDays * kMicrosPerDay && value < (codec::kMaxDays + 1) * kMicrosPerDay;
  switch (type) {
    case ColumnType::kInt:
      return PyLong_FromLongLong(value);
    case ColumnType::kDate:
      return day_fits ? MakeDate(value) : nullptr;
    case ColumnType::kDateTime:
    case ColumnType::kDateTimeUtc: {
      codec::DateTime moment;
      moment.micros = value;
      if (type == ColumnType::kDateTimeUtc) moment.zone.kind = codec::ZoneKind::kUtc;
      return moment_fits ? MakeDateTime(moment) : nullptr;
    }
    case ColumnType::kTime:
      return value >= 0 && value < kMicrosPerDay ? MakeTime({value, false, {}}) : nullptr;
    case ColumnType::kTimeDelta:
      return value < kMaxDeltaMicros && value > -kMaxDeltaMicros ? MakeTimeDelta(value) : nullptr;
    default:
      return nullptr;
  }
}

PyObject* FromText(ColumnType type, std::string_view word) {
  switch (type) {
    case ColumnType::kText:
      return MakeText(word);
    case ColumnType::kBytes:
      return PyBytes_FromStringAndSize(word.data(), static_cast<Py_ssize_t>(word.size()));
    case ColumnType::kDecimal:
      return MakeDecimal(word);
    case ColumnType::kUuid:
      return MakeUuid(word);
    default:
      return nullptr;
  }
}

}  // namespace

bool ColumnWriter::TakeInts(ColumnType type, const std::vector<Ref>& values) {
  ints_.assign(values.size(), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i].get() != Py_None && !ToInt(type, values[i].get(), ints_[i])) return false;
  }
  return true;
}

bool ColumnWriter::TakeTexts(Scalar scalar, const std::vector<Ref>& values) {
  texts_.assign(values.size(), {});
  owners_.clear();
  uuids_.resize(scalar == Scalar::kUuid ? values.size() : 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    PyObject* value = values[i].get();
    if (value == Py_None) continue;
    if (scalar == Scalar::kBytes) {
      texts_[i] = {PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value))};
    } else if (scalar == Scalar::kUuid) {
      if (!ReadUuid(value, uuids_[i])) return false;
      texts_[i] = {reinterpret_cast<const char*>(uuids_[i].data()), uuids_[i].size()};
    } else {
      Ref text = scalar == Scalar::kDecimal ? Ref::Steal(PyObject_Str(value)) : values[i];
      Ref encoded;
      if (!text || !TextOf(text.get(), texts_[i], encoded)) return false;
      if (encoded || text.get() != value) {
        owners_.push_back(encoded ? std::move(encoded) : std::move(text));
      }
    }
  }
  return true;
}

ColumnWriter::Outcome ColumnWriter::Write(codec::Writer& writer, const std::vector<Ref>& values) {
  Scalar scalar = Scalar::kNone;
  PyObject* first = Py_None;
  bool has_nulls = false;
  nulls_.assign(values.size(), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    PyObject* value = values[i].get();
    if (value == Py_None) {
      nulls_[i] = 1;
      has_nulls = true;
      continue;
    }
    const Scalar its = ScalarOf(value);
    if (scalar == Scalar::kNone) {
      scalar = its;
      first = value;
    }
    if (its != scalar || its == Scalar::kNo) return Outcome::kMixed;
  }
  if (scalar == Scalar::kNone) {
    writer.WriteNullColumn();
    return Outcome::kWritten;
  }
  if (values.size() == 1) return Outcome::kMixed;  // a plain value is shorter than a column of one
  if (!has_nulls) nulls_.clear();
  const auto done = [&](bool taken) {
    if (PyErr_Occurred() != nullptr) return Outcome::kFailed;
    return taken ? Outcome::kWritten : Outcome::kMixed;
  };
  if (scalar == Scalar::kBool) {
    bools_.assign(values.size(), 0);
    for (std::size_t i = 0; i < values.size(); ++i) bools_[i] = values[i].get() == Py_True ? 1 : 0;
    writer.WriteBoolColumn(bools_, nulls_);
    return Outcome::kWritten;
  }
  if (scalar == Scalar::kFloat) {
    floats_.assign(values.size(), 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i].get() != Py_None) floats_[i] = PyFloat_AS_DOUBLE(values[i].get());
    }
    writer.WriteFloatColumn(floats_, nulls_);
    return Outcome::kWritten;
  }
  if (const ColumnType type = IntTypeOf(scalar, first); type != ColumnType::kNull) {
    const bool taken = TakeInts(type, values);
    if (taken) writer.WriteIntColumn(type, ints_, nulls_);
    return done(taken);
  }
  if (const ColumnType type = TextTypeOf(scalar); type != ColumnType::kNull) {
    const bool taken = TakeTexts(scalar, values);
    if (taken) writer.WriteTextColumn(type, texts_, nulls_);
    return done(taken);
  }
  return Outcome::kMixed;
}

bool ColumnReader::Read(codec::Reader& reader, ColumnType type,
                        const std::vector<std::uint8_t>& nulls, std::size_t rows,
                        std::vector<Ref>& values) {
  values.clear();
  values.resize(rows);
  const auto fill = [&](std::size_t read, auto make) {
    if (!reader.ok() || read != rows) return false;
    for (std::size_t i = 0; i < rows; ++i) {
      const bool null = !nulls.empty() && nulls[i] != 0;
      values[i] = null ? Ref::Borrow(Py_None) : Ref::Steal(make(i));
      if (!values[i]) return false;
    }
    return true;
  };
  switch (type) {
    case ColumnType::kBool:
      reader.ReadBools(bools_);
      return fill(bools_.size(), [&](std::size_t i) { return PyBool_FromLong(bools_[i]); });
    case ColumnType::kFloat:
      reader.ReadFloats(floats_);
      return fill(floats_.size(), [&](std::size_t i) { return PyFloat_FromDouble(floats_[i]); });
    case ColumnType::kInt:
    case ColumnType::kDate:
    case ColumnType::kDateTime:
    case ColumnType::kDateTimeUtc:
    case ColumnType::kTime:
    case ColumnType::kTimeDelta:
      reader.ReadInts(ints_);
      return fill(ints_.size(), [&](std::size_t i) { return FromInt(type, ints_[i]); });
    case ColumnType::kText:
    case ColumnType::kBytes:
    case ColumnType::kDecimal:
    case ColumnType::kUuid:
      break;
    default:
      return false;
  }
  reader.ReadTexts(texts_);
  if (texts_.codes.empty()) {
    return fill(texts_.words.size(),
                [&](std::size_t i) { return FromText(type, texts_.words[i]); });
  }
  std::vector<Ref> words(texts_.words.size());  // one object for all rows that have the word
  return fill(texts_.codes.size(), [&](std::size_t i) -> PyObject* {
    const std::size_t code = texts_.codes[i];
    if (code >= words.size()) return nullptr;
    if (!words[code]) words[code] = Ref::Steal(FromText(type, texts_.words[code]));
    return Py_XNewRef(words[code].get());
  });
}

}  // namespace smartcache::binding
