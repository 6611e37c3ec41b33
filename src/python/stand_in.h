// The TypeError of a call with wrong arguments, in the interpreter's own words. Needs the GIL.
#pragma once

#include "python/py_key.h"

namespace smartcache::binding {

// Raises what calling the function of `parts` with `call` would raise.
void RaiseForWrongArguments(const PlanParts& parts, const Call& call);

}  // namespace smartcache::binding
