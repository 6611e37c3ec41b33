// Which encoding takes the fewest bytes for a run of integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "entry/codec/columns.h"

namespace smartcache::codec {

struct IntsPlan {
  Encoding encoding = Encoding::kPlain;
  std::int64_t base = 0;  // kPacked, kDelta: the least value or difference
  unsigned width = 0;     // kPacked, kDelta: bytes of what is above the base
  // Takes no byte a value, so has to be paid for with free cells.
  [[nodiscard]] bool free() const {
    return encoding == Encoding::kConstant || (encoding != Encoding::kPlain && width == 0);
  }
};

// `values` is not empty. `may_be_free`: encodings without a byte a value are allowed.
[[nodiscard]] IntsPlan PlanInts(std::span<const std::int64_t> values, bool may_be_free);

}  // namespace smartcache::codec
