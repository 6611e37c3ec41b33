// Whether an answer is provably fresh, from L1's slots alone: the heart of the protocol as a pure
// function.
#pragma once

#include <cstdint>
#include <span>

#include "smartcache/clock.h"
#include "tags/slots.h"

namespace smartcache {

enum class Freshness : std::uint8_t {
  kFresh,    // every token was the present one at some moment during the call
  kUnknown,  // no slot contradicts, but not all can be trusted: ask the store
  kStale,    // a trusted slot holds another token: the entry is outdated, or newer than a lagging
             // slot
};

struct Judgement {
  Freshness freshness = Freshness::kUnknown;
  Instant until{};  // kFresh: how long the slots say so, if none of them changes; kNever: no end
};

// Judges an entry's vector under `stamp` at `now`; stamp 0, or `now` not before `trusted_until`,
// trusts nothing. An empty vector depends on nothing but that trust. Cost: four loads a tag.
[[nodiscard]] Judgement Judge(std::span<const SlotToken> tags, std::uint64_t stamp, Instant now,
                              Instant trusted_until);

}  // namespace smartcache
