#include "python/py_value.h"

namespace smartcache::binding {

std::unique_ptr<PyValue> PyValue::Make(PyObject* value, std::string_view payload,
                                       std::uint8_t codec) {
  auto made = std::make_unique<PyValue>();
  made->blueprint_ = Blueprint::Draw(value);
  if (made->blueprint_ == nullptr) {
    if (PyErr_Occurred() != nullptr) PyErr_Clear();
    made->payload_ = payload;
    made->codec_ = codec;
  }
  return made;
}

}  // namespace smartcache::binding
