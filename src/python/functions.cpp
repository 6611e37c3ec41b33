#include "python/functions.h"

#include <optional>
#include <string>
#include <string_view>

#include "python/configure.h"
#include "python/errors.h"
#include "python/payload.h"
#include "python/renderer.h"
#include "python/scalars.h"
#include "smartcache/entry.h"
#include "smartcache/tag.h"

namespace smartcache::binding {
namespace {

std::string_view View(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::bytes ToBytes(std::string_view bytes) { return nb::bytes(bytes.data(), bytes.size()); }

// Bytes, or a str as UTF-8.
std::string TextOf(nb::handle text) {
  if (nb::isinstance<nb::bytes>(text)) return std::string(View(nb::borrow<nb::bytes>(text)));
  if (!PyUnicode_Check(text.ptr())) throw nb::type_error("detail must be str or bytes");
  std::string_view utf8;
  Ref owner;
  if (!TextOf(text.ptr(), utf8, owner)) nb::raise_python_error();
  return std::string(utf8);
}

Tag MakeTagOf(const nb::str& kind, const nb::str& scope, nb::handle detail) {
  const std::string_view letter = kind.c_str();
  if (letter.size() != 1 || std::string_view("tbqrcu").find(letter[0]) == std::string_view::npos) {
    PyErr_Format(PyExc_ValueError, "kind is one of t, b, q, r, c, u, not %R", kind.ptr());
    nb::raise_python_error();
  }
  return MakeTag(static_cast<TagKind>(letter[0]), TextOf(scope), TextOf(detail));
}

nb::object Encode(nb::handle value) {
  const std::optional<Payload> payload = EncodeValue(value.ptr());
  if (!payload) nb::raise_python_error();
  return nb::make_tuple(ToBytes(payload->bytes), payload->codec);
}

nb::object Decode(const nb::bytes& payload, std::uint8_t codec) {
  PyObject* value = DecodeValue(View(payload), codec);
  if (value == nullptr && PyErr_Occurred() != nullptr) nb::raise_python_error();
  if (value == nullptr) throw nb::value_error("the payload cannot be decoded");
  return nb::steal(value);
}

nb::bytes EncodeEnvelope(nb::handle secret, const nb::bytes& key, const nb::bytes& payload,
                         std::uint8_t codec) {
  EntryHeader header;
  header.hard_ttl = header.soft_ttl = kNever;
  header.codec = codec;
  return ToBytes(EncodeEntry(SecretOf(secret), View(key), header, View(payload)));
}

nb::object DecodeEnvelope(nb::handle secret, const nb::bytes& key, const nb::bytes& envelope) {
  const Result<EntryView> entry = DecodeEntry(SecretOf(secret), View(key), View(envelope));
  if (!entry.ok()) return nb::none();
  return nb::make_tuple(ToBytes(entry->payload), entry->header.codec);
}

nb::bytes EncodeText(nb::handle value) {
  std::string text;
  Renderer renderer(text, nullptr);
  if (!renderer.Scalar(value.ptr())) {
    if (PyErr_Occurred() != nullptr) nb::raise_python_error();
    PyErr_Format(PyExc_TypeError, "a plain value is needed, not %.200s",
                 Py_TYPE(value.ptr())->tp_name);
    nb::raise_python_error();
  }
  return ToBytes(text);
}

}  // namespace

void AddFunctions(nb::module_& module) {
  module.def("tag", &MakeTagOf, nb::arg("kind"), nb::arg("scope"), nb::arg("detail") = "");
  module.def("key_tag", [](const nb::bytes& key) { return KeyTag(View(key)); }, nb::arg("key"));
  module.def("encode", &Encode, nb::arg("value").none());
  module.def("decode", &Decode, nb::arg("payload"), nb::arg("codec"));
  module.def("encode_entry", &EncodeEnvelope, nb::arg("secret"), nb::arg("key"), nb::arg("payload"),
             nb::arg("codec"));
  module.def("decode_entry", &DecodeEnvelope, nb::arg("secret"), nb::arg("key"),
             nb::arg("envelope"));
  module.def("encode_text", &EncodeText, nb::arg("value").none());
}

}  // namespace smartcache::binding
