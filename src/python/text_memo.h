// Recently decoded keys of dicts, as Python's objects with their hashes: the same few keys come
// with every entry of one function, and making and hashing each anew is a third of decoding a small
// dict. Needs the GIL.
#pragma once

#include <Python.h>

#include <string_view>

#include "python/ref.h"

namespace smartcache::binding {

// The text of `utf8`, perhaps one that was made before. Null with an exception.
[[nodiscard]] Ref MemoText(std::string_view utf8);

}  // namespace smartcache::binding
