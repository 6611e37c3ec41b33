// Cache, and the functions that make and close the process' one.
#pragma once

#include <nanobind/nanobind.h>

namespace smartcache::binding {

void AddCache(nanobind::module_& module);

// Closes the process' cache, if there is one, and drops what it held. Needs the GIL.
void CloseCache();

}  // namespace smartcache::binding
