#include "smartcache/tls.h"

#include <atomic>

namespace smartcache::tls {
namespace {

std::atomic<MakeContext> registered{nullptr};

}  // namespace

void Register(MakeContext make) { registered.store(make); }

MakeContext Registered() { return registered.load(); }

}  // namespace smartcache::tls
