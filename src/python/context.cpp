#include "python/context.h"

#include <utility>

#include "python/hooks.h"

namespace smartcache::binding {
namespace {

long process_number = 0;  // of this process among its forebears

}  // namespace

// What one thread has begun. A tally of another process' number is of a thread that did not come
// along: what still ends on it counts for nothing.
struct Context::Tally {
  long process = process_number;
  long contexts = 0;
};

std::shared_ptr<Context::Tally>& Context::Own() {
  thread_local std::shared_ptr<Tally> own = std::make_shared<Tally>();
  return own;
}

Context::Context() : tally_(Own()) {
  ++tally_->contexts;
  ++process.contexts;
}

void Context::End() {
  const std::shared_ptr<Tally> tally = std::exchange(tally_, nullptr);
  if (tally == nullptr || tally->process != process_number) return;
  --tally->contexts;
  --process.contexts;
}

void KeepOwnContexts() {
  Context::Tally& own = *Context::Own();
  own.process = ++process_number;
  process.contexts = own.contexts;
}

void AddContext(nb::module_& module) {
  nb::class_<Context>(module, "Context").def(nb::init<>()).def("end", &Context::End);
  module.def("contexts", [] { return process.contexts; });
}

}  // namespace smartcache::binding
