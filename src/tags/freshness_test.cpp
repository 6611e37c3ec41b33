#include "tags/freshness.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

namespace smartcache {

std::ostream& operator<<(std::ostream& out, Freshness freshness) {
  constexpr const char* kNames[] = {"kFresh", "kUnknown", "kStale"};
  return out << kNames[static_cast<int>(freshness)];
}

namespace {

constexpr std::uint64_t kStamp = 5;
constexpr Instant kNow{1'000};
constexpr Instant kTrusted{1'500};

// A slot as L1 has it, beside the token (always 1) that the entry was made with.
struct Seen {
  Token token = 1;
  std::uint64_t stamp = kStamp;
  Instant deadline = kNever;
};
constexpr Seen kPresent{};
constexpr Seen kOther{.token = 2};
constexpr Seen kEmpty{.token = kNoToken};
constexpr Seen kOldStamp{.stamp = kStamp - 1};
constexpr Seen kOver{.deadline = kNow};
constexpr Seen kOtherOfOldStamp{.token = 2, .stamp = kStamp - 1};
constexpr Seen kOtherOver{.token = 2, .deadline = kNow};

struct Case {
  std::string name;
  std::vector<Seen> seen;
  Freshness freshness;
  std::uint64_t stamp = kStamp;
  Instant trusted_until = kTrusted;
};

class FreshnessTable : public testing::TestWithParam<Case> {};

TEST_P(FreshnessTable, IsJudged) {
  const Case& given = GetParam();
  Slots slots;
  std::vector<SlotToken> tags;
  for (Tag tag = 1; const Seen& seen : given.seen) {
    const SlotRef slot = slots.Acquire(tag);
    if (seen.token != kNoToken) {
      slots.Install(tag, *slot, slot->version(), seen.token, seen.stamp, seen.deadline);
    }
    tags.push_back({slot, {tag++, 1}});
  }
  const Judgement judgement = Judge(tags, given.stamp, kNow, given.trusted_until);
  EXPECT_EQ(judgement.freshness, given.freshness);
  const bool fresh = given.freshness == Freshness::kFresh;
  EXPECT_EQ(judgement.until, fresh ? kNever : Instant{});
}

constexpr Freshness kFresh = Freshness::kFresh;
constexpr Freshness kUnknown = Freshness::kUnknown;
constexpr Freshness kStale = Freshness::kStale;

INSTANTIATE_TEST_SUITE_P(
    All, FreshnessTable,
    testing::Values(
        Case{"NoTags", {}, kFresh}, Case{"OnePresent", {kPresent}, kFresh},
        Case{"AllPresent", {kPresent, kPresent, kPresent}, kFresh},
        Case{"OneOther", {kOther}, kStale},
        Case{"LastIsOther", {kPresent, kPresent, kOther}, kStale},
        Case{"OtherBehindAnUnknown", {kEmpty, kOther}, kStale}, Case{"Empty", {kEmpty}, kUnknown},
        Case{"OneEmpty", {kPresent, kEmpty, kPresent}, kUnknown},
        Case{"OldStamp", {kOldStamp}, kUnknown}, Case{"DeadlineOver", {kOver}, kUnknown},
        Case{"OneDeadlineOver", {kPresent, kOver}, kUnknown},
        Case{"OtherOfOldStampTellsNothing", {kOtherOfOldStamp}, kUnknown},
        Case{"OtherWhoseDeadlineIsOverTellsNothing", {kOtherOver}, kUnknown},
        Case{"NoStamp", {kPresent}, kUnknown, 0}, Case{"NoStampAndNoTags", {}, kUnknown, 0},
        Case{"NextStamp", {kPresent}, kUnknown, kStamp + 1},
        Case{"TrustEndsNow", {kPresent}, kUnknown, kStamp, kNow},
        Case{"NeverTrusted", {kPresent}, kUnknown, kStamp, Instant{}},
        Case{"UntrustedOtherIsNotStale", {kOther}, kUnknown, kStamp, kNow}),
    [](const auto& given) { return given.param.name; });

TEST(Freshness, LastsUntilTheNearestDeadline) {
  Slots slots;
  std::vector<SlotToken> tags;
  EXPECT_EQ(Judge(tags, kStamp, kNow, kTrusted).until, kNever);
  for (const Instant deadline : {Instant(3'000), Instant(2'000), kNever}) {
    const Tag tag = tags.size() + 1;
    const SlotRef slot = slots.Acquire(tag);
    slots.Install(tag, *slot, slot->version(), 1, kStamp, deadline);
    tags.push_back({slot, {tag, 1}});
  }
  EXPECT_EQ(Judge(tags, kStamp, kNow, kTrusted).until, Instant(2'000));
}

}  // namespace
}  // namespace smartcache
