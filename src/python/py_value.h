// What L1 holds for a Python value: a blueprint of private copies, or, of what has none, its
// payload.
#pragma once

#include <Python.h>

#include <memory>
#include <string>
#include <utility>

#include "l1/local_entry.h"
#include "python/blueprint.h"
#include "python/payload.h"
#include "smartcache/entry.h"

namespace smartcache::binding {

class PyValue final : public Value {
 public:
  // `payload` is the encoded `value`, copied only where it is needed. Needs the GIL; leaves no
  // exception.
  static std::unique_ptr<PyValue> Make(PyObject* value, std::string_view payload,
                                       std::uint8_t codec);
  ~PyValue() override { DropLater(std::move(blueprint_)); }

  // A private copy of an entry's value, new reference. Null without an exception: the payload
  // cannot be decoded (any more).
  [[nodiscard]] static PyObject* Copy(const LocalEntry& entry) {
    if (entry.immutable != nullptr) return Py_NewRef(static_cast<PyObject*>(entry.immutable));
    return static_cast<const PyValue*>(entry.value.get())->Build();
  }
  [[nodiscard]] void* immutable() const override {
    return blueprint_ == nullptr ? nullptr : blueprint_->immutable();
  }
  [[nodiscard]] std::size_t weight() const override {
    return sizeof *this + (blueprint_ != nullptr ? blueprint_->weight() : payload_.size());
  }

 private:
  [[nodiscard]] PyObject* Build() const {
    return blueprint_ != nullptr ? blueprint_->Build() : DecodeValue(payload_, codec_);
  }

  std::unique_ptr<Blueprint> blueprint_;
  std::string payload_;
  std::uint8_t codec_ = 0;
};

}  // namespace smartcache::binding
