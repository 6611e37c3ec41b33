// For forked children: what a thread of the parent may have been changing, or holding locked, at
// the fork can be neither used nor destroyed.
#pragma once

#include <utility>
#include <vector>

namespace smartcache {

// Keeps `object` for ever, untouched, where a leak checker still sees it. Only for a child's one
// thread.
template <class T>
void LeaveBehind(T object) {
  static auto& kept = *new std::vector<T>();
  kept.push_back(std::move(object));
}

}  // namespace smartcache
