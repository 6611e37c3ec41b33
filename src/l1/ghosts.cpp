#include "l1/ghosts.h"

#include <algorithm>
#include <bit>

namespace smartcache {

void Ghosts::SetWindow(std::size_t window) {
  window_ = window;
  if (window <= buckets_.size() * 2) return;
  // Twice as many as needed, so that this is done once for each doubling.
  const std::size_t size = std::bit_ceil(window);
  std::vector<Bucket> old(size);
  old.swap(buckets_);
  shift_ = 32 - std::countr_zero(size);
  for (const Bucket& bucket : old) {
    for (const Cell& cell : bucket) {
      if (Remembered(cell)) Put(cell);
    }
  }
}

void Ghosts::Put(Cell cell) {
  Bucket& bucket = BucketOf(cell.hash);
  // An empty cell is older than all.
  const auto age = [this](const Cell& other) {
    return other.number == 0 ? UINT32_MAX : last_ - other.number;
  };
  *std::max_element(bucket.begin(), bucket.end(),
                    [&age](const Cell& a, const Cell& b) { return age(a) < age(b); }) = cell;
}

void Ghosts::Add(std::uint32_t hash) {
  if (last_ == UINT32_MAX) Clear();  // the numbers begin again
  Put({hash, ++last_});
}

bool Ghosts::Take(std::uint32_t hash) {
  for (Cell& cell : BucketOf(hash)) {
    if (cell.hash != hash || !Remembered(cell)) continue;
    cell.number = 0;
    return true;
  }
  return false;
}

void Ghosts::Clear() {
  std::fill(buckets_.begin(), buckets_.end(), Bucket());
  last_ = 0;
}

}  // namespace smartcache
