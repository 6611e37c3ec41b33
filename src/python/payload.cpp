#include "python/payload.h"

#include "python/hooks.h"
#include "python/interrupts.h"
#include "python/ref.h"
#include "smartcache/entry.h"

namespace smartcache::binding {

std::optional<Payload> CallDumps(PyObject* value) {
  if (hooks.dumps == nullptr) {
    PyErr_Format(PyExc_TypeError, "values of type %.200s cannot be stored before configure()",
                 Py_TYPE(value)->tp_name);
    return std::nullopt;
  }
  const Ref dumps = Ref::Borrow(hooks.dumps);  // a configure() meanwhile must not free it
  const Ref reply = Ref::Steal(PyObject_CallOneArg(dumps.get(), value));
  if (!reply) return std::nullopt;
  PyObject* bytes = nullptr;
  unsigned char codec = 0;
  if (PyTuple_Check(reply.get()) == 0 ||
      PyArg_ParseTuple(reply.get(), "Sb;dumps must return (bytes, codec)", &bytes, &codec) == 0) {
    if (PyErr_Occurred() == nullptr) {
      PyErr_SetString(PyExc_TypeError, "dumps must return (bytes, codec)");
    }
    return std::nullopt;
  }
  return Payload{{PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))},
                 codec};
}

PyObject* CallLoads(std::string_view payload, std::uint8_t codec) {
  if (hooks.loads == nullptr) {
    PyErr_SetString(PyExc_TypeError, "payloads of this codec cannot be read before configure()");
    return nullptr;
  }
  const Ref loads = Ref::Borrow(hooks.loads);
  const Ref bytes = Ref::Steal(
      PyBytes_FromStringAndSize(payload.data(), static_cast<Py_ssize_t>(payload.size())));
  const Ref number = Ref::Steal(PyLong_FromLong(codec));
  if (!bytes || !number) return nullptr;
  PyObject* arguments[] = {bytes.get(), number.get()};
  return PyObject_Vectorcall(loads.get(), arguments, 2, nullptr);
}

std::optional<Payload> EncodeValue(PyObject* value) {
  if (std::optional<std::string> native = EncodeNative(value)) {
    return Payload{*std::move(native), static_cast<std::uint8_t>(Codec::kNative)};
  }
  return ClearException() ? CallDumps(value) : std::nullopt;
}

PyObject* DecodeValue(std::string_view payload, std::uint8_t codec) {
  PyObject* value = codec == static_cast<std::uint8_t>(Codec::kNative) ? DecodeNative(payload)
                                                                       : CallLoads(payload, codec);
  // Classes may raise anything while they are rebuilt.
  if (value == nullptr) (void)ClearException();
  return value;
}

}  // namespace smartcache::binding
