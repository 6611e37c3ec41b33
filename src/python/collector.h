// Pauses Python's cyclic collector while many objects are made: it would walk the half-made value
// again and again, and nothing in it is garbage. Needs the GIL. No effect on the state that the
// user has chosen.
#pragma once

#include <Python.h>

#include <cstddef>

namespace smartcache::binding {

// From how many objects on a pause is worth its calls. The youngest generation is walked at 700
// (2,000 from 3.12 on).
inline constexpr std::size_t kPauseObjects = 200;

class CollectorPause {
 public:
  explicit CollectorPause(std::size_t objects)
      : paused_(objects >= kPauseObjects && PyGC_Disable() != 0) {}
  ~CollectorPause() {
    if (paused_) PyGC_Enable();
  }
  CollectorPause(const CollectorPause&) = delete;
  CollectorPause& operator=(const CollectorPause&) = delete;

 private:
  bool paused_;
};

}  // namespace smartcache::binding
