// Single plain values between Python and the native codec. Needs the GIL. Exact types only: a
// subclass may carry more than its base.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "entry/codec/codec.h"
#include "python/ref.h"

namespace smartcache::binding {

enum class Scalar : std::uint8_t {
  kNo,
  kNone,
  kBool,
  kInt,
  kBigInt,
  kFloat,
  kText,
  kBytes,
  kDate,
  kDateTime,
  kTime,
  kTimeDelta,
  kDecimal,
  kUuid,
};
// Of the value's type; kInt or kBigInt by its size.
[[nodiscard]] Scalar ScalarOf(PyObject* value);

// UTF-8 of a str, lone surrogates as three bytes. `owner` keeps what the view points to, if not
// `text` itself.
[[nodiscard]] bool TextOf(PyObject* text, std::string_view& utf8, Ref& owner);

// False, perhaps with an exception: the value's zone is of a class that is not known.
[[nodiscard]] bool ReadDateTime(PyObject* value, codec::DateTime& out, Ref& owner);
[[nodiscard]] bool ReadTime(PyObject* value, codec::Time& out, Ref& owner);
[[nodiscard]] std::int64_t ReadDays(PyObject* date);
[[nodiscard]] codec::TimeDelta ReadTimeDelta(PyObject* value);
[[nodiscard]] bool ReadUuid(PyObject* value, codec::Uuid& out);
// Writes an int beyond 64 bits.
[[nodiscard]] bool WriteBigInt(codec::Writer& writer, PyObject* value);
// Writes a value of any scalar type.
[[nodiscard]] bool WriteScalar(codec::Writer& writer, Scalar type, PyObject* value);

// New references; null if the parts make no value.
[[nodiscard]] PyObject* MakeText(std::string_view utf8);
[[nodiscard]] PyObject* MakeDate(std::int64_t days);
[[nodiscard]] PyObject* MakeDateTime(const codec::DateTime& value);
[[nodiscard]] PyObject* MakeTime(const codec::Time& value);
[[nodiscard]] PyObject* MakeTimeDelta(const codec::TimeDelta& value);
[[nodiscard]] PyObject* MakeTimeDelta(std::int64_t micros);
[[nodiscard]] PyObject* MakeDecimal(std::string_view text);
[[nodiscard]] PyObject* MakeUuid(std::string_view bytes);  // 16 of them
[[nodiscard]] PyObject* MakeBigInt(const codec::BigInt& value);

}  // namespace smartcache::binding
