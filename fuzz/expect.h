// What every input must keep.
#pragma once

#include <cstdlib>

inline void Expect(bool condition) {
  if (!condition) std::abort();
}
