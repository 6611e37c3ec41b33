#include "tags/slots.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/fork_test.h"

namespace smartcache {
namespace {

constexpr Tag kTag = 0x1234;
constexpr Token kToken = 77;
constexpr std::uint64_t kStamp = 5;
constexpr Instant kNow{1'000};
constexpr Instant kDeadline{2'000};

// Acquires, notes the version, and installs at once.
SlotRef Fetched(Slots& slots, Tag tag = kTag, Token token = kToken, std::uint64_t stamp = kStamp,
                Instant deadline = kDeadline) {
  SlotRef slot = slots.Acquire(tag);
  EXPECT_TRUE(slots.Install(tag, *slot, slot->version(), token, stamp, deadline));
  return slot;
}

TEST(Slots, ATagHasOneSlot) {
  Slots slots;
  const SlotRef slot = slots.Acquire(kTag);
  EXPECT_EQ(slots.Acquire(kTag), slot);
  EXPECT_NE(slots.Acquire(kTag + 1), slot);
  EXPECT_EQ(slots.size(), 2u);
}

TEST(Slots, MatchesOnlyItsTokenUnderItsStampBeforeItsDeadline) {
  Slots slots;
  const SlotRef slot = Fetched(slots);
  EXPECT_TRUE(slot->Matches(kToken, kStamp, kNow));
  EXPECT_EQ(slot->Usable(kStamp, kNow), kToken);
  EXPECT_EQ(slot->UsableUntil(kToken, kStamp), kDeadline);
  EXPECT_FALSE(slot->Matches(kToken + 1, kStamp, kNow));
  EXPECT_FALSE(slot->Matches(kToken, kStamp + 1, kNow));
  EXPECT_FALSE(slot->Matches(kToken, kStamp, kDeadline));
  EXPECT_EQ(slot->Usable(kStamp + 1, kNow), kNoToken);
  EXPECT_EQ(slot->Usable(kStamp, kDeadline), kNoToken);
}

TEST(Slots, AnEmptySlotMatchesNothing) {
  Slots slots;
  const SlotRef slot = slots.Acquire(kTag);
  EXPECT_FALSE(slot->Matches(kNoToken, 0, Instant::min()));
  EXPECT_EQ(slot->Usable(0, Instant{-1}), kNoToken);
}

TEST(Slots, ForgetsADroppedToken) {
  Slots slots;
  const SlotRef slot = Fetched(slots);
  slots.Drop(kTag + 1);
  EXPECT_TRUE(slot->Matches(kToken, kStamp, kNow));
  slots.Drop(kTag);
  EXPECT_FALSE(slot->Matches(kToken, kStamp, kNow));
  EXPECT_EQ(slot->Usable(kStamp, kNow), kNoToken);
}

TEST(Slots, DropsAFetchThatAMessageOvertook) {
  Slots slots;
  const SlotRef slot = slots.Acquire(kTag);
  const std::uint64_t sent = slot->version();
  slots.Drop(kTag);
  EXPECT_FALSE(slots.Install(kTag, *slot, sent, kToken, kStamp, kDeadline));
  EXPECT_FALSE(slot->Matches(kToken, kStamp, kNow));
  EXPECT_TRUE(slots.Install(kTag, *slot, slot->version(), kToken + 1, kStamp, kDeadline));
}

TEST(Slots, DropsEveryFetchThatAClearOvertook) {
  Slots slots;
  std::vector<SlotRef> held;
  for (Tag tag = 0; tag < 200; ++tag) held.push_back(Fetched(slots, tag));
  const std::uint64_t sent = held[7]->version();
  slots.DropAll();
  for (const SlotRef& slot : held) EXPECT_FALSE(slot->Matches(kToken, kStamp, kNow));
  EXPECT_FALSE(slots.Install(7, *held[7], sent, kToken, kStamp, kDeadline));
}

TEST(Slots, ChangesMovesWithEveryLoss) {
  Slots slots;
  const SlotRef slot = Fetched(slots);
  const auto moves = [&slots](auto change) {
    const std::uint64_t before = slots.changes();
    change();
    return slots.changes() != before;
  };
  const auto install = [&](Token token, std::uint64_t stamp, Instant deadline) {
    return [&slots, &slot, token, stamp, deadline] {
      EXPECT_TRUE(slots.Install(kTag, *slot, slot->version(), token, stamp, deadline));
    };
  };
  EXPECT_TRUE(moves(install(kToken + 1, kStamp, kDeadline))) << "another token";
  EXPECT_TRUE(moves(install(kToken + 1, kStamp, kNow))) << "a nearer deadline";
  EXPECT_FALSE(moves(install(kToken + 1, kStamp, kDeadline))) << "a later deadline";
  EXPECT_TRUE(moves([&] { slots.Drop(kTag); }));
  EXPECT_FALSE(moves(install(kToken + 2, kStamp, kNow))) << "a token where there was none";
  // An entry without tokens may rest on the version of an empty slot.
  slots.Drop(kTag);
  EXPECT_TRUE(moves([&] { slots.Drop(kTag); }));
  EXPECT_TRUE(moves([&] { slots.DropAll(); }));
  EXPECT_FALSE(moves([&] { slots.Drop(kTag + 1); })) << "a tag that nobody asked for";
}

TEST(Slots, SweepFreesOnlyWhatNobodyRefersTo) {
  Slots slots;
  const SlotRef expected = slots.Acquire(kTag);
  const std::uint64_t sent = expected->version();
  for (Tag tag = 0; tag < 100; ++tag) static_cast<void>(slots.Acquire(tag << 8));
  EXPECT_EQ(slots.Sweep(101), 101u);
  EXPECT_EQ(slots.Sweep(100), 1u);
  EXPECT_EQ(slots.size(), 1u);
  EXPECT_TRUE(slots.Install(kTag, *expected, sent, kToken, kStamp, kDeadline));
  slots.Drop(kTag);
  EXPECT_FALSE(expected->Matches(kToken, kStamp, kNow));
}

TEST(Slots, SweepsAgainOnlyAfterGrowingByHalf) {
  Slots slots;
  std::vector<SlotRef> held;
  for (Tag tag = 0; tag < 100; ++tag) held.push_back(slots.Acquire(tag));
  EXPECT_EQ(slots.Sweep(10), 100u);
  for (Tag tag = 100; tag < 150; ++tag) static_cast<void>(slots.Acquire(tag));
  EXPECT_EQ(slots.Sweep(10), 150u);
  static_cast<void>(slots.Acquire(150));
  EXPECT_EQ(slots.Sweep(10), 100u);
}

TEST(Slots, RefusesASlotFromBeforeAFork) {
  Slots slots;
  const SlotRef old_slot = Fetched(slots);
  const std::uint64_t before = slots.changes();
  slots.AfterFork();
  EXPECT_EQ(slots.size(), 0u);
  EXPECT_NE(slots.changes(), before);
  EXPECT_FALSE(slots.Install(kTag, *old_slot, old_slot->version(), kToken, kStamp, kDeadline));
  const SlotRef slot = Fetched(slots, kTag, kToken + 1);
  EXPECT_NE(slot, old_slot);
  EXPECT_FALSE(slots.Install(kTag, *old_slot, old_slot->version(), kToken, kStamp, kDeadline));
}

TEST(Slots, AForkedChildStartsAnewWhateverOtherThreadsHeld) {
  SMARTCACHE_SKIP_FORK_AMID_THREADS();
  Slots slots;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (Tag first = 0; first < 2; ++first) {
    threads.emplace_back([&slots, &stop, first] {
      for (Tag tag = first; !stop; tag += 2) {
        static_cast<void>(slots.Acquire(tag % 2'000));
        slots.Drop(tag % 1'000);
        if (tag % 512 == first) slots.Sweep(100);
      }
    });
  }
  for (int forks = 0; forks < 30; ++forks) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(10);
      slots.AfterFork();
      bool right = slots.size() == 0;
      for (Tag tag = 0; tag < 200; ++tag) right = right && slots.Acquire(tag) != nullptr;
      slots.DropAll();
      right = right && slots.Sweep(0) == 0;
      _exit(right ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// --- many threads: token n goes with stamp and deadline n. Tokens up to `gone` have been lost for
// good.

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr Token kLastToken = 50'000;
#else
constexpr Token kLastToken = 500'000;
#endif

// Installs one token after the other, every second one dropped before the next, and tells what has
// gone.
void BumpAll(Slots& slots, const SlotRef& slot, std::atomic<Token>& gone) {
  for (Token token = 1; token <= kLastToken; ++token) {
    const Instant deadline(static_cast<std::int64_t>(token));
    slots.Install(kTag, *slot, slot->version(), token, token, deadline);
    gone.store(token - 1, std::memory_order_release);
    if (token % 2 == 1) continue;
    slots.Drop(kTag);
    gone.store(token, std::memory_order_release);
  }
}

TEST(Slots, NoReaderMatchesATokenAfterItsDropReturned) {
  Slots slots;
  const SlotRef slot = slots.Acquire(kTag);
  std::atomic<Token> gone{0};
  std::atomic<int> stale{0};
  std::atomic<int> torn{0};
  std::thread reader([&] {
    for (Token last = 0; last != kLastToken;) {
      last = gone.load(std::memory_order_acquire);
      if (slot->UsableUntil(last, last) != Instant::min()) ++stale;
      for (Token token = last; token <= last + 2; ++token) {
        const Instant until = slot->UsableUntil(token, token);
        if (until != Instant::min() && until.count() != static_cast<std::int64_t>(token)) ++torn;
        if (slot->UsableUntil(token, token + 1) != Instant::min()) ++torn;
      }
    }
  });
  BumpAll(slots, slot, gone);
  reader.join();
  EXPECT_EQ(stale, 0);
  EXPECT_EQ(torn, 0);
}

// What a reader does that skips the slots while changes() stays.
TEST(Slots, NoShortcutByChangesOutlivesALoss) {
  Slots slots;
  const SlotRef slot = slots.Acquire(kTag);
  std::atomic<Token> gone{0};
  std::atomic<int> stale{0};
  std::thread reader([&] {
    Token held = 0;
    std::uint64_t checked = 0;
    for (Token last = 0; last != kLastToken;) {
      last = gone.load(std::memory_order_acquire);
      const std::uint64_t moment = slots.changes();
      if (checked == moment) {
        if (held <= last) ++stale;
        continue;
      }
      if (held <= last) held = last + 1;
      if (slot->Matches(held, held, Instant(0))) checked = moment;
    }
  });
  BumpAll(slots, slot, gone);
  reader.join();
  EXPECT_EQ(stale, 0);
}

TEST(Slots, NeverSweepsASlotWhoseFetchIsUnderWay) {
  Slots slots;
  std::atomic<bool> stop{false};
  std::thread sweeper([&] {
    while (!stop) slots.Sweep(0);
  });
  int lost = 0;
  for (Tag tag = 0; tag < 20'000; ++tag) {
    const SlotRef slot = slots.Acquire(tag % 64);
    const bool installed =
        slots.Install(tag % 64, *slot, slot->version(), kToken, kStamp, kDeadline);
    if (!installed || slots.Acquire(tag % 64) != slot) ++lost;
  }
  stop = true;
  sweeper.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace smartcache
