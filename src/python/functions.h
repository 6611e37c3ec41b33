// The module's functions that need no cache: tags, payloads and envelopes.
#pragma once

#include <nanobind/nanobind.h>

namespace smartcache::binding {

void AddFunctions(nanobind::module_& module);

}  // namespace smartcache::binding
