#include "python/scalars.h"

#include <datetime.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "entry/codec/civil.h"
#include "python/class_table.h"

namespace smartcache::binding {
namespace {

using codec::kMicrosPerDay;
using codec::ZoneKind;

constexpr std::int64_t kMicrosPerSecond = 1'000'000;
constexpr std::int64_t kSecondsPerDay = 86'400;

bool ImportDateTime() {
  if (PyDateTimeAPI == nullptr) PyDateTime_IMPORT;
  return PyDateTimeAPI != nullptr;
}

// Classes of the standard library that have no C interface, imported when first met or made.
struct Classes {
  PyObject* decimal = nullptr;
  PyObject* uuid = nullptr;
  PyObject* unsure = nullptr;  // uuid.SafeUUID.unknown
  PyObject* zone_info = nullptr;
};
Classes classes;

PyObject* ImportedClass(PyObject*& kept, const char* module, const char* name) {
  if (kept == nullptr) {
    const Ref imported = Ref::Steal(PyImport_ImportModule(module));
    if (imported) kept = PyObject_GetAttrString(imported.get(), name);
  }
  return kept;
}

// As ImportedClass, for a value at hand: its module has been imported, or it is of another class.
bool IsOf(PyTypeObject* type, PyObject*& kept, const char* module, const char* name) {
  if (kept == nullptr && std::strcmp(type->tp_name, name) != 0) {
    const char* dot = std::strrchr(type->tp_name, '.');
    if (dot == nullptr || std::strcmp(dot + 1, name) != 0) return false;
  }
  if (kept == nullptr) kept = Imported(module, name);
  return kept == reinterpret_cast<PyObject*>(type);
}

bool ReadZone(PyObject* zone, codec::Zone& out, Ref& owner) {
  if (zone == Py_None) return true;
  if (zone == PyDateTime_TimeZone_UTC) {
    out.kind = ZoneKind::kUtc;
    return true;
  }
  if (Py_TYPE(zone) == Py_TYPE(PyDateTime_TimeZone_UTC)) {
    // (offset,) or (offset, name); the codec carries no names of fixed zones.
    const Ref parts = Ref::Steal(PyObject_CallMethod(zone, "__getinitargs__", nullptr));
    if (!parts || PyTuple_GET_SIZE(parts.get()) != 1) return false;
    PyObject* offset = PyTuple_GET_ITEM(parts.get(), 0);
    out.kind = ZoneKind::kOffset;
    out.offset_us = (PyDateTime_DELTA_GET_DAYS(offset) * kSecondsPerDay +
                     PyDateTime_DELTA_GET_SECONDS(offset)) *
                        kMicrosPerSecond +
                    PyDateTime_DELTA_GET_MICROSECONDS(offset);
    return true;
  }
  if (!IsOf(Py_TYPE(zone), classes.zone_info, "zoneinfo", "ZoneInfo")) return false;
  owner = Ref::Steal(PyObject_GetAttrString(zone, "key"));
  if (!owner || !PyUnicode_Check(owner.get())) return false;
  Ref encoded;
  out.kind = ZoneKind::kNamed;
  return TextOf(owner.get(), out.name.bytes, encoded) && !encoded;
}

PyObject* MakeZone(const codec::Zone& zone) {
  switch (zone.kind) {
    case ZoneKind::kNaive:
      return Py_NewRef(Py_None);
    case ZoneKind::kUtc:
      return Py_NewRef(PyDateTime_TimeZone_UTC);
    case ZoneKind::kOffset: {
      const Ref offset = Ref::Steal(MakeTimeDelta(zone.offset_us));
      return offset ? PyTimeZone_FromOffset(offset.get()) : nullptr;
    }
    case ZoneKind::kNamed: {
      PyObject* zone_info = ImportedClass(classes.zone_info, "zoneinfo", "ZoneInfo");
      const Ref key = Ref::Steal(MakeText(zone.name.bytes));
      return zone_info != nullptr && key ? PyObject_CallOneArg(zone_info, key.get()) : nullptr;
    }
  }
  return nullptr;
}

struct Clock {
  int hour, minute, second, micro;
};
Clock ClockOf(std::int64_t micros) {
  const std::int64_t seconds = micros / kMicrosPerSecond;
  return {static_cast<int>(seconds / 3600), static_cast<int>(seconds / 60 % 60),
          static_cast<int>(seconds % 60), static_cast<int>(micros % kMicrosPerSecond)};
}

PyObject* MakeUnsigned(std::string_view bytes, std::endian order) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_FromUnsignedNativeBytes(
      bytes.data(), bytes.size(),
      order == std::endian::little ? Py_ASNATIVEBYTES_LITTLE_ENDIAN : Py_ASNATIVEBYTES_BIG_ENDIAN);
#else
  return _PyLong_FromByteArray(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                               order == std::endian::little ? 1 : 0, /*is_signed=*/0);
#endif
}

}  // namespace

Scalar ScalarOf(PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  if (type == &PyUnicode_Type) return Scalar::kText;
  if (type == &PyLong_Type) {
    int overflow = 0;
    PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0 ? Scalar::kInt : Scalar::kBigInt;
  }
  if (value == Py_None) return Scalar::kNone;
  if (type == &PyBool_Type) return Scalar::kBool;
  if (type == &PyFloat_Type) return Scalar::kFloat;
  if (type == &PyBytes_Type) return Scalar::kBytes;
  if (type == &PyList_Type || type == &PyDict_Type || type == &PyTuple_Type) return Scalar::kNo;
  if (!ImportDateTime()) return Scalar::kNo;
  if (type == PyDateTimeAPI->DateTimeType) return Scalar::kDateTime;
  if (type == PyDateTimeAPI->DateType) return Scalar::kDate;
  if (type == PyDateTimeAPI->TimeType) return Scalar::kTime;
  if (type == PyDateTimeAPI->DeltaType) return Scalar::kTimeDelta;
  if (IsOf(type, classes.decimal, "decimal", "Decimal")) return Scalar::kDecimal;
  if (IsOf(type, classes.uuid, "uuid", "UUID")) return Scalar::kUuid;
  return Scalar::kNo;
}

bool TextOf(PyObject* text, std::string_view& utf8, Ref& owner) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text, &size);
  if (data == nullptr) {
    PyErr_Clear();
    owner = Ref::Steal(PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass"));
    if (!owner) return false;
    data = PyBytes_AS_STRING(owner.get());
    size = PyBytes_GET_SIZE(owner.get());
  }
  utf8 = {data, static_cast<std::size_t>(size)};
  return true;
}

std::int64_t ReadDays(PyObject* date) {
  return codec::DaysFromCivil({PyDateTime_GET_YEAR(date),
                               static_cast<unsigned>(PyDateTime_GET_MONTH(date)),
                               static_cast<unsigned>(PyDateTime_GET_DAY(date))});
}

bool ReadDateTime(PyObject* value, codec::DateTime& out, Ref& owner) {
  const std::int64_t seconds = PyDateTime_DATE_GET_HOUR(value) * 3600 +
                               PyDateTime_DATE_GET_MINUTE(value) * 60 +
                               PyDateTime_DATE_GET_SECOND(value);
  out.micros = ReadDays(value) * kMicrosPerDay + seconds * kMicrosPerSecond +
               PyDateTime_DATE_GET_MICROSECOND(value);
  out.fold = PyDateTime_DATE_GET_FOLD(value) != 0;
  return ReadZone(PyDateTime_DATE_GET_TZINFO(value), out.zone, owner);
}

bool ReadTime(PyObject* value, codec::Time& out, Ref& owner) {
  const std::int64_t seconds = PyDateTime_TIME_GET_HOUR(value) * 3600 +
                               PyDateTime_TIME_GET_MINUTE(value) * 60 +
                               PyDateTime_TIME_GET_SECOND(value);
  out.micros = seconds * kMicrosPerSecond + PyDateTime_TIME_GET_MICROSECOND(value);
  out.fold = PyDateTime_TIME_GET_FOLD(value) != 0;
  return ReadZone(PyDateTime_TIME_GET_TZINFO(value), out.zone, owner);
}

codec::TimeDelta ReadTimeDelta(PyObject* value) {
  return {PyDateTime_DELTA_GET_DAYS(value), PyDateTime_DELTA_GET_SECONDS(value),
          PyDateTime_DELTA_GET_MICROSECONDS(value)};
}

bool ReadUuid(PyObject* value, codec::Uuid& out) {
  const Ref bytes = Ref::Steal(PyObject_GetAttrString(value, "bytes"));
  if (!bytes || !PyBytes_Check(bytes.get()) || PyBytes_GET_SIZE(bytes.get()) != 16) return false;
  std::memcpy(out.data(), PyBytes_AS_STRING(bytes.get()), 16);
  return true;
}

bool WriteBigInt(codec::Writer& writer, PyObject* value) {
  const Ref magnitude = Ref::Steal(PyNumber_Absolute(value));
  const Ref bits =
      magnitude ? Ref::Steal(PyObject_CallMethod(magnitude.get(), "bit_length", nullptr)) : Ref();
  if (!bits) return false;
  const Py_ssize_t size = (PyLong_AsSsize_t(bits.get()) + 7) / 8;
  const Ref bytes =
      Ref::Steal(PyObject_CallMethod(magnitude.get(), "to_bytes", "ns", size, "little"));
  const Ref zero = Ref::Steal(PyLong_FromLong(0));
  if (!bytes || !zero) return false;
  writer.WriteBigInt(PyObject_RichCompareBool(value, zero.get(), Py_LT) == 1,
                     {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(size)});
  return true;
}

bool WriteScalar(codec::Writer& writer, Scalar type, PyObject* value) {
  Ref owner;
  switch (type) {
    case Scalar::kNo:
      return false;
    case Scalar::kNone:
      writer.WriteNone();
      return true;
    case Scalar::kBool:
      writer.WriteBool(value == Py_True);
      return true;
    case Scalar::kInt:
      writer.WriteInt(PyLong_AsLongLong(value));
      return true;
    case Scalar::kBigInt:
      return WriteBigInt(writer, value);
    case Scalar::kFloat:
      writer.WriteFloat(PyFloat_AS_DOUBLE(value));
      return true;
    case Scalar::kText: {
      std::string_view utf8;
      if (!TextOf(value, utf8, owner)) return false;
      writer.WriteText(utf8);
      return true;
    }
    case Scalar::kBytes:
      writer.WriteBytes(
          {PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value))});
      return true;
    case Scalar::kDate:
      writer.WriteDate(ReadDays(value));
      return true;
    case Scalar::kDateTime: {
      codec::DateTime moment;
      if (!ReadDateTime(value, moment, owner)) return false;
      writer.WriteDateTime(moment);
      return true;
    }
    case Scalar::kTime: {
      codec::Time time;
      if (!ReadTime(value, time, owner)) return false;
      writer.WriteTime(time);
      return true;
    }
    case Scalar::kTimeDelta:
      writer.WriteTimeDelta(ReadTimeDelta(value));
      return true;
    case Scalar::kDecimal: {
      const Ref text = Ref::Steal(PyObject_Str(value));
      std::string_view utf8;
      if (!text || !TextOf(text.get(), utf8, owner)) return false;
      writer.WriteDecimal(utf8);
      return true;
    }
    case Scalar::kUuid: {
      codec::Uuid bytes;
      if (!ReadUuid(value, bytes)) return false;
      writer.WriteUuid(bytes);
      return true;
    }
  }
  return false;
}

PyObject* MakeText(std::string_view utf8) {
  return PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "surrogatepass");
}

PyObject* MakeDate(std::int64_t days) {
  if (!ImportDateTime()) return nullptr;
  const codec::Civil civil = codec::CivilFromDays(days);
  return PyDate_FromDate(civil.year, static_cast<int>(civil.month), static_cast<int>(civil.day));
}

PyObject* MakeDateTime(const codec::DateTime& value) {
  if (!ImportDateTime()) return nullptr;
  const Ref zone = Ref::Steal(MakeZone(value.zone));
  if (!zone) return nullptr;
  const codec::DayMicros split = codec::SplitMicros(value.micros);
  const codec::Civil civil = codec::CivilFromDays(split.days);
  const Clock clock = ClockOf(split.micros);
  return PyDateTimeAPI->DateTime_FromDateAndTimeAndFold(
      civil.year, static_cast<int>(civil.month), static_cast<int>(civil.day), clock.hour,
      clock.minute, clock.second, clock.micro, zone.get(), value.fold ? 1 : 0,
      PyDateTimeAPI->DateTimeType);
}

PyObject* MakeTime(const codec::Time& value) {
  if (!ImportDateTime()) return nullptr;
  const Ref zone = Ref::Steal(MakeZone(value.zone));
  if (!zone) return nullptr;
  const Clock clock = ClockOf(value.micros);
  return PyDateTimeAPI->Time_FromTimeAndFold(clock.hour, clock.minute, clock.second, clock.micro,
                                             zone.get(), value.fold ? 1 : 0,
                                             PyDateTimeAPI->TimeType);
}

PyObject* MakeTimeDelta(const codec::TimeDelta& value) {
  if (!ImportDateTime()) return nullptr;
  return PyDelta_FromDSU(value.days, value.seconds, value.micros);
}

PyObject* MakeTimeDelta(std::int64_t micros) {
  const codec::DayMicros split = codec::SplitMicros(micros);
  return MakeTimeDelta(
      codec::TimeDelta{static_cast<std::int32_t>(split.days),
                       static_cast<std::int32_t>(split.micros / kMicrosPerSecond),
                       static_cast<std::int32_t>(split.micros % kMicrosPerSecond)});
}

PyObject* MakeDecimal(std::string_view text) {
  PyObject* decimal = ImportedClass(classes.decimal, "decimal", "Decimal");
  const Ref digits = Ref::Steal(MakeText(text));
  return decimal != nullptr && digits ? PyObject_CallOneArg(decimal, digits.get()) : nullptr;
}

PyObject* MakeUuid(std::string_view bytes) {
  static PyObject* int_name = PyUnicode_InternFromString("int");
  static PyObject* safe_name = PyUnicode_InternFromString("is_safe");
  PyObject* uuid = ImportedClass(classes.uuid, "uuid", "UUID");
  if (uuid == nullptr || bytes.size() != 16) return nullptr;
  if (classes.unsure == nullptr) {
    const Ref safe = Ref::Steal(PyImport_ImportModule("uuid"));
    const Ref kinds = safe ? Ref::Steal(PyObject_GetAttrString(safe.get(), "SafeUUID")) : Ref();
    if (kinds) classes.unsure = PyObject_GetAttrString(kinds.get(), "unknown");
    if (classes.unsure == nullptr) return nullptr;
  }
  // UUID(bytes=..) checks what needs no check, in Python; and its __setattr__ refuses.
  auto* type = reinterpret_cast<PyTypeObject*>(uuid);
  const Ref number = Ref::Steal(MakeUnsigned(bytes, std::endian::big));
  Ref made = Ref::Steal(type->tp_alloc(type, 0));
  if (!made || !number || PyObject_GenericSetAttr(made.get(), int_name, number.get()) != 0 ||
      PyObject_GenericSetAttr(made.get(), safe_name, classes.unsure) != 0) {
    return nullptr;
  }
  return made.release();
}

PyObject* MakeBigInt(const codec::BigInt& value) {
  Ref number = Ref::Steal(MakeUnsigned(value.magnitude, std::endian::little));
  return number && value.negative ? PyNumber_Negative(number.get()) : number.release();
}

}  // namespace smartcache::binding
