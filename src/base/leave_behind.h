// For what can be neither used nor destroyed: in a forked child what a thread of the parent may
// have been changing, or holding locked, at the fork; after the interpreter what would wait for it.
#pragma once

#include <utility>
#include <vector>

namespace smartcache {

// Keeps `object` for ever, untouched, where a leak checker still sees it. Only for the one thread
// that a child or an ended interpreter has.
template <class T>
void LeaveBehind(T object) {
  static auto& kept = *new std::vector<T>();
  kept.push_back(std::move(object));
}

}  // namespace smartcache
