// KeyPlan as Python sees it.
#pragma once

#include <nanobind/nanobind.h>

namespace smartcache::binding {

// Adds KeyPlan, and tells CachedFunction how to find the plan in one.
void AddKeyPlan(nanobind::module_& module);

}  // namespace smartcache::binding
