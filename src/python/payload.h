// Python values as payload bytes: the native codec for plain values, instances and querysets, the
// package's `dumps` for a value with anything else in it. All calls need the GIL and may run user
// code.
#pragma once

#include <Python.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace smartcache::binding {

struct Payload {
  std::string bytes;
  std::uint8_t codec = 0;
};

// Nullopt with an exception: what dumps raised for a value that cannot be stored, or an interrupt.
[[nodiscard]] std::optional<Payload> EncodeValue(PyObject* value);

// New reference. Null, without an exception: the bytes are damaged, or of classes that are gone or
// have changed; that is a miss. With one: an interrupt (interrupts.h), to be raised.
[[nodiscard]] PyObject* DecodeValue(std::string_view payload, std::uint8_t codec);

// The native codec alone. Encoding: nullopt without an exception for a value it does not cover.
[[nodiscard]] std::optional<std::string> EncodeNative(PyObject* value);
[[nodiscard]] PyObject* DecodeNative(std::string_view payload);

// The package's serializer alone; null or nullopt with an exception.
[[nodiscard]] std::optional<Payload> CallDumps(PyObject* value);
[[nodiscard]] PyObject* CallLoads(std::string_view payload, std::uint8_t codec);

}  // namespace smartcache::binding
