#include "tags/freshness.h"

#include <algorithm>

namespace smartcache {

Judgement Judge(std::span<const SlotToken> tags, std::uint64_t stamp, Instant now,
                Instant trusted_until) {
  if (stamp == 0 || now >= trusted_until) return {};
  Judgement judgement{Freshness::kFresh, kNever};
  for (const auto& [slot, tag_token] : tags) {
    const Instant until = slot->UsableUntil(tag_token.token, stamp);
    if (now < until) {
      judgement.until = std::min(judgement.until, until);
      continue;
    }
    // The slot may have been emptied or renewed since: only a token of its own contradicts.
    const Token present = slot->Usable(stamp, now);
    if (present != kNoToken && present != tag_token.token) return {Freshness::kStale, {}};
    judgement.freshness = Freshness::kUnknown;
  }
  if (judgement.freshness != Freshness::kFresh) judgement.until = {};
  return judgement;
}

}  // namespace smartcache
