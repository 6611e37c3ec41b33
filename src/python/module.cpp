// djsmartcache._core: the one place where the cache meets Python. See
// python/djsmartcache/_core.pyi.
#include <nanobind/nanobind.h>

#include "python/answers.h"
#include "python/cached_function.h"
#include "python/context.h"
#include "python/errors.h"
#include "python/functions.h"
#include "python/gil.h"
#include "python/hooks.h"
#include "python/plan_type.h"
#include "python/py_cache.h"

namespace smartcache::binding {

Hooks hooks;
Process process;

}  // namespace smartcache::binding

NB_MODULE(_core, module) {
  namespace binding = smartcache::binding;
  // The process' cache and the module's singletons live until the end.
  nanobind::set_leak_warnings(false);
  binding::AddErrors(module);
  binding::AddAnswers(module);
  binding::AddCache(module);
  binding::AddContext(module);
  binding::AddKeyPlan(module);
  binding::AddFunctions(module);
  if (!binding::AddCachedFunction(module.ptr())) nanobind::raise_python_error();

  // While there is still an interpreter: threads are stopped, and what L1 holds is given back.
  nanobind::module_::import_("atexit").attr("register")(nanobind::cpp_function([] {
    binding::CloseCache();
    binding::DrainDropped();
    binding::MarkInterpreterGone();
  }));
}
