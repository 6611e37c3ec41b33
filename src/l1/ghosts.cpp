#include "l1/ghosts.h"

#include <algorithm>
#include <bit>

namespace smartcache {

void Ghosts::Resize(std::size_t capacity) {
  const std::size_t buckets = std::bit_ceil(std::max<std::size_t>(capacity, 2) / 2);
  std::vector<Bucket> old(buckets);
  old.swap(buckets_);
  capacity_ = capacity;
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
  if (capacity_ == 0) return;
  if (++last_ == 0) Clear();  // the numbers begin again
  Put({hash, last_});
}

bool Ghosts::Take(std::uint32_t hash) {
  if (capacity_ == 0) return false;
  for (Cell& cell : BucketOf(hash)) {
    if (cell.hash != hash || !Remembered(cell)) continue;
    cell.number = 0;
    return true;
  }
  return false;
}

void Ghosts::Clear() {
  std::fill(buckets_.begin(), buckets_.end(), Bucket());
  last_ = 1;
}

}  // namespace smartcache
