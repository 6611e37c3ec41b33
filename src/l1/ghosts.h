// The keys most recently evicted on trial, by hash alone: who comes back while remembered has
// proven itself. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace smartcache {

// A FIFO without a queue: each hash lies in one bucket of four with the number of its eviction, and
// is remembered while fewer than `window` evictions have followed. A full bucket forgets its
// oldest; there are at least two cells for each hash of the window, so that few are forgotten
// early.
class Ghosts {
 public:
  // How many evictions are remembered. Cheap unless the window has doubled.
  void SetWindow(std::size_t window);
  void Add(std::uint32_t hash);
  // Whether `hash` is remembered; if so it is forgotten.
  bool Take(std::uint32_t hash);
  void Clear();

 private:
  struct Cell {
    std::uint32_t hash = 0;
    std::uint32_t number = 0;  // 0: empty
  };
  using Bucket = std::array<Cell, 4>;
  [[nodiscard]] Bucket& BucketOf(std::uint32_t hash) {
    return buckets_[(hash * 0x9E3779B1u) >> shift_];
  }
  [[nodiscard]] bool Remembered(const Cell& cell) const {
    return cell.number != 0 && last_ - cell.number < window_;
  }
  void Put(Cell cell);

  std::vector<Bucket> buckets_ = std::vector<Bucket>(2);
  int shift_ = 31;
  std::size_t window_ = 4;
  std::uint32_t last_ = 0;
};

}  // namespace smartcache
