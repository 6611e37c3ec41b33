#include "entry/codec/ints_plan.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/bytes.h"

namespace smartcache::codec {
namespace {

unsigned BytesOf(std::uint64_t value) {
  return (static_cast<unsigned>(std::bit_width(value)) + 7) / 8;
}
unsigned VarintBytes(std::uint64_t value) {
  return (static_cast<unsigned>(std::bit_width(value | 1)) + 6) / 7;
}

struct Range {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  std::int64_t most = std::numeric_limits<std::int64_t>::min();
  void Add(std::int64_t value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
  [[nodiscard]] unsigned width(bool may_be_free) const {
    const auto span = static_cast<std::uint64_t>(most) - static_cast<std::uint64_t>(least);
    return std::max(BytesOf(span), may_be_free ? 0u : 1u);
  }
};

}  // namespace

IntsPlan PlanInts(std::span<const std::int64_t> values, bool may_be_free) {
  Range range;
  Range steps;
  range.Add(values[0]);
  std::size_t plain_bytes = VarintBytes(ZigzagOf(values[0]));
  for (std::size_t i = 1; i < values.size(); ++i) {
    range.Add(values[i]);
    plain_bytes += VarintBytes(ZigzagOf(values[i]));
    // Wraps around where the difference does not fit; the reader's sum wraps back.
    steps.Add(static_cast<std::int64_t>(static_cast<std::uint64_t>(values[i]) -
                                        static_cast<std::uint64_t>(values[i - 1])));
  }
  if (may_be_free && range.least == range.most) return {Encoding::kConstant, range.least, 0};
  IntsPlan best;
  std::size_t best_bytes = plain_bytes;
  const auto consider = [&](Encoding encoding, const Range& of, std::size_t n, std::size_t more) {
    const unsigned width = of.width(may_be_free);
    const std::size_t bytes = VarintBytes(ZigzagOf(of.least)) + 1 + n * width + more;
    // Even sizes go to fixed widths, which are read without a branch a byte.
    if (bytes <= best_bytes) {
      best = {encoding, of.least, width};
      best_bytes = bytes;
    }
  };
  const std::size_t n = values.size();
  if (n > 1) consider(Encoding::kDelta, steps, n - 1, VarintBytes(ZigzagOf(values[0])));
  consider(Encoding::kPacked, range, n, 0);
  return best;
}

}  // namespace smartcache::codec
