#include "cache/hints.h"

#include <new>

namespace smartcache {

std::vector<Tag> Hints::Of(Tag hash) {
  Stripe& stripe = StripeOf(hash);
  const MutexLock lock(stripe.mutex);
  if (!stripe.hints.empty()) {
    const Hint& hint = stripe.hints[PlaceOf(hash)];
    if (hint.hash == hash) return hint.tags;
  }
  return {hash};
}

void Hints::Note(Tag hash, const TagVector& tags) {
  if (tags.size() > kMaxTags) return;
  Stripe& stripe = StripeOf(hash);
  const MutexLock lock(stripe.mutex);
  if (stripe.hints.empty()) stripe.hints.resize(kPerStripe);
  Hint& hint = stripe.hints[PlaceOf(hash)];
  hint.hash = hash;
  hint.tags.clear();
  for (const auto& [tag, token] : tags) hint.tags.push_back(tag);
}

void Hints::AfterFork() { new (this) Hints; }

}  // namespace smartcache
