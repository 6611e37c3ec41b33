// Cache, and the functions that make and close the process' one.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "smartcache/cache.h"

namespace smartcache::binding {

// The process' cache; null before configure and after close. Needs the GIL.
[[nodiscard]] std::shared_ptr<Cache> CurrentCache();

void AddCache(nanobind::module_& module);

// Closes the process' cache, if there is one, and drops what it held. Needs the GIL.
void CloseCache();

}  // namespace smartcache::binding
