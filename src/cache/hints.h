// Which tags an entry had when last seen, so that its tokens can be asked for together with it. A
// guess: a wrong one costs a round trip, nothing else. Bounded; a newer key overwrites an older
// one.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "base/mutex.h"
#include "smartcache/tag.h"

namespace smartcache {

class Hints {
 public:
  // The tags last noted for the key with this hash; its own tag alone when nothing is known, since
  // that is what computed entries always have.
  [[nodiscard]] std::vector<Tag> Of(Tag hash);
  void Note(Tag hash, const TagVector& tags);
  void AfterFork();

 private:
  // Entries with more tags are not noted: they pay the second trip rather than our memory.
  static constexpr std::size_t kMaxTags = 32;
  static constexpr std::size_t kPerStripe = 1024;
  struct Hint {
    Tag hash = 0;
    std::vector<Tag> tags;
  };
  struct Stripe {
    Mutex mutex;
    std::vector<Hint> hints GUARDED_BY(mutex);
  };
  std::array<Stripe, 16> stripes_;

  Stripe& StripeOf(Tag hash) { return stripes_[hash & 15]; }
  static std::size_t PlaceOf(Tag hash) { return (hash >> 4) % kPerStripe; }
};

}  // namespace smartcache
