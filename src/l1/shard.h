// One shard of L1: a hash table and the queues of S3-FIFO in one array. Not thread-safe, destroys
// no entry.
//
//   insert -> | small: a tenth of the bytes | -> used twice more -> | main | -> used -> its head
//                       | no                                          | no
//                       v                                             v
//                 ghosts: hashes alone; seen again -> main          evicted
//
// After Yang et al., "FIFO queues are all you need for cache eviction" (SOSP'23), weighed in bytes.
// Tried over 1,000 entries: with one use instead of two, pages read twice flush main (0.49 for 0.55
// of hits on zipf 1.0 mixed with them; the rest within 0.002); ghosts for twice the entries cost
// zipf 0.005 and give a drifting popularity 0.003; counting to 7 costs the drift 0.015. Zipf 1.0
// over 100,000 keys: 0.597.
//
// A cell is 32 bytes, two to a cache line, found by linear probing from its hash; the queues link
// cells by their places. At most 5/8 of the cells are taken: 1.8 probes for a hit, mostly in the
// line first touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "l1/ghosts.h"
#include "l1/local_entry.h"

namespace smartcache {

class Shard {
 public:
  using Victims = std::vector<LocalRef>;  // for the caller to destroy, outside its lock

  explicit Shard(std::size_t max_bytes);
  // Counts as a use. Null: there is none. The pointer is good until the next call.
  [[nodiscard]] const LocalRef* Find(Tag hash, std::string_view key);
  // How many entries were evicted for it.
  std::size_t Insert(LocalRef entry, Victims& victims);
  void Erase(const LocalEntry& entry, Victims& victims);
  void Erase(Tag hash, Victims& victims);
  void Clear(Victims& victims);
  [[nodiscard]] std::size_t entries() const { return entries_; }
  [[nodiscard]] std::size_t bytes() const { return small_.bytes + main_.bytes; }

 private:
  using Place = std::uint32_t;
  static constexpr Place kNowhere = UINT32_MAX;

  enum class In : std::uint8_t { kSmall, kMain };
  struct Cell {
    LocalRef entry;  // null: the cell is free
    std::uint32_t hash = 0;
    Place newer = kNowhere;
    Place older = kNowhere;
    std::uint8_t uses = 0;
    In in = In::kSmall;
  };
  static_assert(sizeof(Cell) == 32);
  struct Queue {
    Place newest = kNowhere;
    Place oldest = kNowhere;
    std::size_t bytes = 0;
  };

  static std::uint32_t Mix(Tag hash);
  static std::size_t WeightOf(const LocalEntry& entry);
  Queue& QueueOf(In in) { return in == In::kSmall ? small_ : main_; }
  [[nodiscard]] Place Next(Place place) const { return (place + 1) & (Place(cells_.size()) - 1); }
  [[nodiscard]] Place Home(std::uint32_t hash) const { return hash & (Place(cells_.size()) - 1); }
  [[nodiscard]] Place PlaceOf(std::uint32_t hash, std::string_view key) const;
  void Link(Place place, In in);
  void Unlink(Place place);
  void Move(Place from, Place to);
  LocalRef Take(Place place);
  Place Put(LocalRef entry, std::uint32_t hash);
  void Grow();
  // Evicts the oldest of a queue, or moves it where it belongs if it was used.
  void EvictOne(Victims& victims);

  const std::size_t max_bytes_;
  std::vector<Cell> cells_;
  std::size_t entries_ = 0;
  Queue small_;
  Queue main_;
  Ghosts ghosts_;
};

}  // namespace smartcache
