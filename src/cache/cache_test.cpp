// The whole way of reads and writes, of several processes over one store, without a server and
// without sleeping: embedded (change counter), with a listener, and with neither.
#include "smartcache/cache.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cache/cache_impl.h"
#include "l2/memory/memory_store.h"

namespace smartcache {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

enum class Mode { kEmbedded, kListener, kNoListener };

std::string NameOf(Mode mode) {
  if (mode == Mode::kEmbedded) return "Embedded";
  return mode == Mode::kListener ? "Listener" : "NoListener";
}

struct Text final : Value {
  explicit Text(std::string t) : text(std::move(t)) {}
  std::size_t weight() const override { return text.size(); }
  std::string text;
};

// A listener whose connection the test cuts by hand.
class HandBackplane final : public Backplane {
 public:
  HandBackplane(std::shared_ptr<MemoryData> data, const MemoryStore* self, const Clock& clock)
      : data_(std::move(data)), clock_(clock) {
    data_->Listen([this, self](const Announcement& announcement) {
      if (announcement.origin == self || !connected_) return;
      if (announcement.clear) return sink_->OnClear();
      sink_->OnBump(announcement.tags);
    });
  }
  bool Start(BackplaneSink& sink) override {
    sink_ = &sink;
    if (!startable) return false;
    Connect();
    running = true;
    if (const auto then = std::exchange(on_start, nullptr)) then();
    return true;
  }
  void Stop() override {
    connected_ = false;
    running = false;
  }
  Status Fence(Duration) override { return Ok(); }
  void AfterFork() override {}

  void Connect() {
    connected_ = true;
    sink_->OnConnected(data_->epoch());
    sink_->OnFence(clock_.Now());
  }
  void Disconnect() {
    connected_ = false;
    sink_->OnDisconnected();
  }
  void Beat() {
    if (connected_) sink_->OnFence(clock_.Now());
  }
  // Messages get lost and nobody notices, as on a half-open connection.
  void GoDeaf() { connected_ = false; }

  bool startable = true;
  bool running = false;
  std::function<void()> on_start;  // before Start returns

 private:
  std::shared_ptr<MemoryData> data_;
  const Clock& clock_;
  BackplaneSink* sink_ = nullptr;
  std::atomic<bool> connected_{false};  // messages come on the threads of whoever causes them
};

// Lets something happen between the store's reading of tokens and the arrival of its answer.
class SlowStore final : public MemoryStore {
 public:
  using MemoryStore::MemoryStore;
  Result<TokensReply> Mint(std::span<const Tag> tags,
                           std::span<const SchemeRequest> schemes) override {
    auto reply = MemoryStore::Mint(tags, schemes);
    if (const auto then = std::exchange(on_the_way, nullptr)) then();
    return reply;
  }
  Result<GetReply> Get(std::string_view key, std::span<const Tag> tags) override {
    auto reply = MemoryStore::Get(key, tags);
    if (reply.ok() && reply->entry) reply->entry->ttl += older_by;
    return reply;
  }
  std::function<void()> on_the_way;
  // As if times to live were read before the entry was replaced by the one that is read.
  Duration older_by{};
};

struct Process {
  SlowStore* store = nullptr;
  HandBackplane* backplane = nullptr;
  std::shared_ptr<Cache> cache;
};

class CacheTest : public testing::TestWithParam<Mode> {
 protected:
  Process Spawn() {
    Options options;
    options.lock_timeout = seconds(5);
    return Spawn(options);
  }

  Process Spawn(Options options) {
    // Nothing happens by itself, but where a test asks for it.
    if (options.replay_pause == Options().replay_pause) {
      options.replay_pause = std::chrono::hours(1);
    }
    const auto kind =
        GetParam() == Mode::kEmbedded ? MemoryStore::Kind::kEmbedded : MemoryStore::Kind::kServer;
    auto store = std::make_unique<SlowStore>(options, clock, data, kind);
    Process process;
    process.store = store.get();
    std::unique_ptr<HandBackplane> backplane;
    if (GetParam() == Mode::kListener) {
      backplane = std::make_unique<HandBackplane>(data, store.get(), clock);
      process.backplane = backplane.get();
    }
    process.cache = Cache::Make(options, std::move(store), std::move(backplane), clock);
    return process;
  }

  static FindOptions As(std::uint64_t owner) {
    FindOptions options;
    options.owner = owner;
    return options;
  }

  static Computed Of(const std::string& text, TagVector tags, Duration ttl = seconds(60)) {
    Computed computed;
    computed.payload = text;
    computed.codec = static_cast<std::uint8_t>(Codec::kPickle);
    computed.tags = std::move(tags);
    computed.ttl = ttl;
    computed.value = std::make_unique<Text>(text);
    return computed;
  }

  // What a decorated function does; "" where it would have to compute without storing.
  std::string Call(Process& process, const std::string& key, const std::vector<Tag>& tags,
                   const std::string& fresh, FindOptions options = {}) {
    if (const auto local = process.cache->Peek(KeyTag(key), key, options.identity)) {
      return TextOf(local);
    }
    Answer answer = process.cache->Find(key, options);
    if (answer.kind == AnswerKind::kHit || answer.kind == AnswerKind::kStale) {
      return TextOf(answer.local);
    }
    if (answer.kind == AnswerKind::kStored) {
      std::string text(answer.stored->entry.payload);
      process.cache->Admit(answer, std::make_unique<Text>(text));
      return text;
    }
    if (answer.kind != AnswerKind::kLead) return "";
    const auto tokens = process.cache->Take(tags, {});
    if (!tokens) {
      process.cache->Abandon(std::move(*answer.lead), false);
      return "";
    }
    ++computations;
    Computed computed = Of(fresh, {});
    for (std::size_t i = 0; i < tags.size(); ++i) computed.tags.push_back({tags[i], (*tokens)[i]});
    computed.identity = options.identity;
    process.cache->Fill(std::move(*answer.lead), std::move(computed));
    return fresh;
  }

  static std::string TextOf(const LocalRef& entry) {
    return static_cast<const Text&>(*entry->value).text;
  }

  ManualClock clock;
  std::shared_ptr<MemoryData> data = std::make_shared<MemoryData>();
  std::atomic<int> computations{0};
  const Tag row = MakeTag(TagKind::kRow, "db/shop_product", "7");
  const Tag other = MakeTag(TagKind::kRow, "db/shop_product", "8");
};

INSTANTIATE_TEST_SUITE_P(Modes, CacheTest,
                         testing::Values(Mode::kEmbedded, Mode::kListener, Mode::kNoListener),
                         [](const auto& mode) { return NameOf(mode.param); });

// A table whose entries carry `row`.
constexpr CoarseTags kTable{70, 7, 71};

// Writes to the table, as a writer that lives.
void Write(Process& process) {
  auto marked = process.cache->Stand(std::array{kTable});
  ASSERT_NE(marked, nullptr);
  ASSERT_TRUE(process.cache->Bump(std::array{kTable.table}, {}, std::move(marked)));
}

TEST_P(CacheTest, ComputesOnceForAllProcesses) {
  Process a = Spawn();
  Process b = Spawn();
  EXPECT_EQ(Call(a, "k", {row}, "one"), "one");
  EXPECT_EQ(Call(a, "k", {row}, "two"), "one");
  EXPECT_EQ(Call(b, "k", {row}, "two"), "one");
  EXPECT_EQ(Call(b, "k", {row}, "two"), "one");
  EXPECT_EQ(computations, 1);
}

TEST_P(CacheTest, BumpDropsEverywhereWhatDependsOnItAndNothingElse) {
  Process a = Spawn();
  Process b = Spawn();
  for (Process* process : {&a, &b}) {
    Call(*process, "k7", {row}, "old");
    Call(*process, "k8", {other}, "old");
  }
  ASSERT_TRUE(a.cache->Bump(std::array{row}, {}));
  EXPECT_EQ(Call(b, "k7", {row}, "new"), "new");
  EXPECT_EQ(Call(a, "k7", {row}, "newer"), "new");
  EXPECT_EQ(Call(a, "k8", {other}, "new"), "old");
  EXPECT_EQ(Call(b, "k8", {other}, "new"), "old");
}

TEST_P(CacheTest, DeadWriterLeavesNothingStaleAfterItsLease) {
  Process a = Spawn();
  Process b = Spawn();
  for (Process* process : {&a, &b}) {
    Call(*process, "k7", {row}, "old");
    Call(*process, "k8", {other}, "old");
  }
  ASSERT_NE(b.cache->Mark(std::array{row}, {}), nullptr);  // and is never heard of again
  for (Process* process : {&a, &b}) EXPECT_EQ(Call(*process, "k7", {row}, "new"), "old");
  clock.Advance(a.cache->options().mark_lease);
  for (Process* process : {&a, &b}) {
    // Trusted again, as by a heartbeat: only what was marked is over.
    if (process->backplane != nullptr) process->backplane->Beat();
    EXPECT_EQ(Call(*process, "k7", {row}, "new"), "new");
    EXPECT_EQ(Call(*process, "k8", {other}, "new"), "old");
  }
}

TEST_P(CacheTest, WhatIsComputedWhileAWriterCommitsEndsWithItsLease) {
  Process a = Spawn();
  Process b = Spawn();
  ASSERT_NE(b.cache->Mark(std::array{row}, {}), nullptr);
  Call(a, "k", {row}, "old");
  EXPECT_EQ(Call(b, "k", {row}, "new"), "old");
  clock.Advance(a.cache->options().mark_lease);
  for (Process* process : {&a, &b}) {
    if (process->backplane != nullptr) process->backplane->Beat();
    EXPECT_EQ(Call(*process, "k", {row}, "new"), "new");
  }
}

TEST_P(CacheTest, WriterThatBumpsTakesItsMarksBack) {
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k7", {row}, "old");
  Call(a, "k8", {other}, "old");
  auto marked = b.cache->Mark(std::array{row, other}, {});
  ASSERT_NE(marked, nullptr);
  ASSERT_TRUE(b.cache->Bump(std::array{row}, {}, std::move(marked)));
  EXPECT_EQ(Call(a, "k7", {row}, "new"), "new");
  clock.Advance(a.cache->options().mark_lease);
  for (Process* process : {&a, &b}) {
    if (process->backplane != nullptr) process->backplane->Beat();
    EXPECT_EQ(Call(*process, "k7", {row}, "newer"), "new");
    EXPECT_EQ(Call(*process, "k8", {other}, "new"), "old");
  }
}

TEST_P(CacheTest, SlowWritersMarksAreRenewed) {
  Options options;
  options.mark_lease = milliseconds(60);
  Process a = Spawn(options);
  auto marked = a.cache->Mark(std::array{row}, {});
  ASSERT_NE(marked, nullptr);
  const auto calls = a.store->calls();
  const Instant end = After(Clock::System().Now(), seconds(10));
  while (a.store->calls() < calls + 2 && Clock::System().Now() < end) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_GE(a.store->calls(), calls + 2);
  marked.reset();
  clock.Advance(seconds(1));
  Call(a, "k", {row}, "old");
  EXPECT_EQ(Call(a, "k", {row}, "new"), "old") << "a mark is left that nobody renews";
}

TEST_P(CacheTest, SecondWriteToATableIsMarkedAlready) {
  Process a = Spawn();
  if (a.backplane != nullptr) a.backplane->Beat();
  Write(a);
  const auto calls = a.store->calls();
  Write(a);
  const bool trusted = GetParam() != Mode::kNoListener;
  EXPECT_EQ(a.store->calls(), calls + (trusted ? 1 : 2)) << "the bump alone";
}

TEST_P(CacheTest, WriterThatDiesUnderAStandingMarkLeavesNothingStale) {
  Process a = Spawn();
  Process b = Spawn();
  if (b.backplane != nullptr) b.backplane->Beat();
  Write(b);
  Call(a, "k7", {kTable.bulk}, "old");
  Call(a, "k8", {other}, "old");
  ASSERT_NE(b.cache->Stand(std::array{kTable}), nullptr);  // and is never heard of again
  EXPECT_EQ(Call(a, "k7", {kTable.bulk}, "new"), "old");
  clock.Advance(a.cache->options().mark_lease);
  for (Process* process : {&a, &b}) {
    if (process->backplane != nullptr) process->backplane->Beat();
    EXPECT_EQ(Call(*process, "k7", {kTable.bulk}, "new"), "new");
    EXPECT_EQ(Call(*process, "k8", {other}, "new"), "old");
  }
}

TEST_P(CacheTest, MarkThatWasNotRenewedInTimeIsPlacedAnew) {
  Process a = Spawn();
  Write(a);
  clock.Advance(a.cache->options().mark_lease / 2);
  if (a.backplane != nullptr) a.backplane->Beat();
  const auto calls = a.store->calls();
  Write(a);
  EXPECT_EQ(a.store->calls(), calls + 2) << "a mark, and the bump";
}

TEST_P(CacheTest, NothingStandsAfterAnUnknownOutcomeOrALostBump) {
  Process a = Spawn();
  if (a.backplane != nullptr) a.backplane->Beat();
  Write(a);
  a.cache->Stand(std::array{kTable}).reset();  // as where the connection was lost at COMMIT
  auto calls = a.store->calls();
  Write(a);
  EXPECT_EQ(a.store->calls(), calls + 2);
  auto marked = a.cache->Stand(std::array{kTable});
  a.store->SetFault(MemoryStore::Fault::kAnswerLost);
  EXPECT_FALSE(a.cache->Bump(std::array{kTable.table}, {}, std::move(marked)));
  a.store->SetFault(MemoryStore::Fault::kNone);
  calls = a.store->calls();
  marked = a.cache->Stand(std::array{kTable});
  EXPECT_GE(a.store->calls(), calls + 1) << "was not marked again";
}

TEST_P(CacheTest, NothingStandsOfAStoreThatWasLostFromSight) {
  Process a = Spawn();
  if (a.backplane == nullptr) GTEST_SKIP() << "nobody tells";
  a.backplane->Beat();
  Write(a);
  a.backplane->Disconnect();
  a.backplane->Connect();
  a.backplane->Beat();
  const auto calls = a.store->calls();
  Write(a);
  EXPECT_EQ(a.store->calls(), calls + 2) << "the store may have forgotten the mark";
}

TEST_P(CacheTest, ClosingTakesStandingMarksBack) {
  Process a = Spawn();
  Process b = Spawn();
  if (b.backplane != nullptr) b.backplane->Beat();
  Write(b);
  Call(a, "k7", {kTable.bulk}, "old");
  b.cache->Close();
  clock.Advance(a.cache->options().mark_lease);
  if (a.backplane != nullptr) a.backplane->Beat();
  EXPECT_EQ(Call(a, "k7", {kTable.bulk}, "new"), "old");
}

TEST_P(CacheTest, StandingMarksAreRenewedAndTakenBackWhenIdle) {
  Options options;
  options.mark_lease = milliseconds(60);
  Process a = Spawn(options);
  Process b = Spawn(options);
  if (GetParam() == Mode::kNoListener) GTEST_SKIP() << "nothing stands";
  for (Process* process : {&a, &b}) {
    if (process->backplane != nullptr) process->backplane->Beat();
  }
  Call(b, "k", {kTable.bulk}, "old");
  Write(a);
  const Instant end = After(Clock::System().Now(), seconds(20));
  const auto called = [&](std::uint64_t calls) {
    while (a.store->calls() < calls && Clock::System().Now() < end) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    return a.store->calls() >= calls;
  };
  // Renewed before its lease is over; of two renewals the second was begun after the clock moved.
  for (int i = 0; i < 4; ++i) {
    clock.Advance(milliseconds(40));
    ASSERT_TRUE(called(a.store->calls() + 2));
  }
  clock.Advance(milliseconds(40));  // now it has been idle for long
  std::this_thread::sleep_for(milliseconds(100));
  const auto calls = a.store->calls();
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(a.store->calls(), calls) << "is renewed still";
  a.cache->Close();  // its thread tells the other one
  clock.Advance(seconds(1));
  if (b.backplane != nullptr) b.backplane->Beat();
  EXPECT_EQ(Call(b, "k", {kTable.bulk}, "new"), "old");
}

TEST_P(CacheTest, NothingIsMarkedWhileTheStoreIsDown) {
  Process a = Spawn();
  for (const auto fault : {MemoryStore::Fault::kDown, MemoryStore::Fault::kAnswerLost}) {
    a.store->SetFault(fault);
    EXPECT_EQ(a.cache->Mark(std::array{row}, {}), nullptr);
    EXPECT_EQ(a.cache->Stand(std::array{kTable}), nullptr);
  }
}

TEST_P(CacheTest, TrustedHitAsksNobody) {
  if (GetParam() == Mode::kNoListener) {
    GTEST_SKIP() << "without a listener every hit asks the store";
  }
  Process a = Spawn();
  Call(a, "k", {row, other}, "one");
  Call(a, "k", {row, other}, "one");
  const auto calls = a.store->calls();
  EXPECT_EQ(Call(a, "k", {row, other}, "two"), "one");
  EXPECT_EQ(a.store->calls(), calls);
}

TEST_P(CacheTest, WriteDuringTheComputationMakesWhatIsStoredAMiss) {
  Process a = Spawn();
  Process b = Spawn();
  Answer answer = a.cache->Find("k", {});
  ASSERT_EQ(answer.kind, AnswerKind::kLead);
  const auto tokens = a.cache->Take(std::array{row}, {});
  ASSERT_TRUE(tokens);
  ASSERT_TRUE(b.cache->Bump(std::array{row}, {}));  // after the old value was read
  a.cache->Fill(std::move(*answer.lead), Of("old", {{row, tokens->at(0)}}));
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  EXPECT_EQ(Call(b, "k", {row}, "newer"), "new");
}

TEST_P(CacheTest, InvalidationDuringTheComputationRejectsTheFill) {
  Process a = Spawn();
  Process b = Spawn();
  Answer answer = a.cache->Find("k", {});
  ASSERT_EQ(answer.kind, AnswerKind::kLead);
  ASSERT_TRUE(b.cache->Delete(std::array{std::string("k")}).ok());
  EXPECT_EQ(a.cache->Fill(std::move(*answer.lead), Of("old", {})), FillOutcome::kRejected);
  EXPECT_EQ(Call(a, "k", {}, "new"), "new");
}

TEST_P(CacheTest, CutConnectionEndsTrustAtOnce) {
  if (GetParam() != Mode::kListener) GTEST_SKIP() << "no connection to cut";
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k", {row}, "old");
  ASSERT_TRUE(a.cache->trusted());
  a.backplane->Disconnect();
  EXPECT_FALSE(a.cache->trusted());
  ASSERT_TRUE(b.cache->Bump(std::array{row}, {}));
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  a.backplane->Connect();
  EXPECT_EQ(Call(a, "k", {row}, "newer"), "new");
}

TEST_P(CacheTest, SilentConnectionIsTrustedForTheBoundOnly) {
  if (GetParam() != Mode::kListener) GTEST_SKIP() << "no connection to go deaf";
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k", {row}, "old");
  a.backplane->GoDeaf();
  ASSERT_TRUE(b.cache->Bump(std::array{row}, {}));
  EXPECT_EQ(Call(a, "k", {row}, "new"), "old");  // within the bound, as promised
  clock.Advance(a.cache->options().trust_bound);
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
}

TEST_P(CacheTest, MessageThatOvertakesAFetchWins) {
  Process a = Spawn();
  Process b = Spawn();
  ASSERT_TRUE(b.cache->Put("k", Of("old", {}), PutCondition::kAlways).ok());
  Answer answer = a.cache->Get("k", 0, Proof::kSlots);
  ASSERT_EQ(answer.kind, AnswerKind::kStored);
  ASSERT_TRUE(b.cache->Put("k", Of("new", {}), PutCondition::kAlways).ok());
  a.cache->Admit(answer, std::make_unique<Text>("old"));
  EXPECT_EQ(a.cache->Peek(KeyTag("k"), "k", 0), nullptr);
  answer = a.cache->Get("k", 0, Proof::kSlots);
  ASSERT_EQ(answer.kind, AnswerKind::kStored);
  EXPECT_EQ(answer.stored->entry.payload, "new");
}

TEST_P(CacheTest, ExplicitStoreReachesTheL1OfOthers) {
  Process a = Spawn();
  Process b = Spawn();
  ASSERT_TRUE(b.cache->Put("k", Of("old", {}), PutCondition::kAlways).ok());
  Answer answer = a.cache->Get("k", 0, Proof::kSlots);
  a.cache->Admit(answer, std::make_unique<Text>("old"));
  if (GetParam() != Mode::kNoListener) {
    EXPECT_NE(a.cache->Peek(KeyTag("k"), "k", 0), nullptr);
  }
  ASSERT_TRUE(b.cache->Put("k", Of("new", {}), PutCondition::kAlways).ok());
  EXPECT_EQ(a.cache->Peek(KeyTag("k"), "k", 0), nullptr);
  EXPECT_FALSE(*b.cache->Put("k", Of("newer", {}), PutCondition::kIfAbsent));
  EXPECT_TRUE(*b.cache->Put("k", Of("newest", {}), PutCondition::kIfPresent));
  EXPECT_EQ(a.cache->Get("k", 0, Proof::kSlots).stored->entry.payload, "newest");
}

TEST_P(CacheTest, InvalidationThatCouldNotBeSentIsReplayedBeforeAnythingIsServed) {
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k", {row}, "old");
  a.store->SetAvailable(false);
  EXPECT_FALSE(a.cache->Bump(std::array{row}, {}));
  EXPECT_EQ(a.cache->Peek(KeyTag("k"), "k", 0), nullptr);
  EXPECT_EQ(a.cache->Find("k", {}).kind, AnswerKind::kBypass);
  EXPECT_FALSE(a.cache->Take(std::array{row}, {}));
  a.store->SetAvailable(true);
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  EXPECT_EQ(Call(b, "k", {row}, "newer"), "new");
}

TEST_P(CacheTest, LostAnswerToAnExplicitStoreServesNeitherValueHere) {
  Process a = Spawn();
  ASSERT_TRUE(a.cache->Put("k", Of("old", {}), PutCondition::kAlways).ok());
  a.store->SetFault(MemoryStore::Fault::kAnswerLost);
  EXPECT_FALSE(a.cache->Put("k", Of("new", {}), PutCondition::kAlways).ok());
  a.store->SetFault(MemoryStore::Fault::kNone);
  EXPECT_EQ(a.cache->Get("k", 0, Proof::kSlots).kind, AnswerKind::kBypass);
}

TEST_P(CacheTest, OldInstanceNeverAnswersForANewOne) {
  Process a = Spawn();
  FindOptions old_instance;
  old_instance.identity = 1;
  FindOptions new_instance;
  new_instance.identity = 2;
  EXPECT_EQ(Call(a, "k", {}, "of old", old_instance), "of old");
  EXPECT_EQ(Call(a, "k", {}, "of new", new_instance), "of new");
  EXPECT_EQ(Call(a, "k", {}, "of old", old_instance), "of old");
  EXPECT_EQ(a.cache->Get("k", 2, Proof::kSlots).kind, AnswerKind::kBypass);
}

TEST_P(CacheTest, StoreThatWasReplacedMakesEverythingAMiss) {
  Process a = Spawn();
  Call(a, "k", {row}, "old");
  data->Wipe();
  if (a.backplane != nullptr) {
    a.backplane->Disconnect();
    a.backplane->Connect();
  }
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  ASSERT_TRUE(a.cache->Put("p", Of("x", {}), PutCondition::kAlways).ok());
  EXPECT_EQ(a.cache->Get("p", 0, Proof::kSlots).kind, AnswerKind::kStored);
}

TEST_P(CacheTest, StateFromBeforeAFailoverIsNotBelieved) {
  Process a = Spawn();
  Call(a, "k", {row}, "old");
  ASSERT_TRUE(a.cache->Put("p", Of("old", {}), PutCondition::kAlways).ok());
  data->FailOver();  // may have lost acknowledged bumps
  if (a.backplane != nullptr) {
    a.backplane->Disconnect();
    a.backplane->Connect();
  }
  Process b = Spawn();
  EXPECT_EQ(b.cache->Get("p", 0, Proof::kSlots).kind, AnswerKind::kBypass);
  EXPECT_EQ(Call(b, "k", {row}, "new"), "new");
  EXPECT_EQ(Call(a, "k", {row}, "newer"), "new");
}

TEST_P(CacheTest, LocalEntryFromBeforeAFailoverIsNotBelieved) {
  Process a = Spawn();
  Call(a, "k", {row}, "old");
  data->FailOver();
  if (a.backplane != nullptr) {
    a.backplane->Disconnect();
    a.backplane->Connect();
  }
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
}

TEST_P(CacheTest, MessageThatOvertakesATokenWins) {
  Process a = Spawn();
  Process b = Spawn();
  a.store->on_the_way = [&] { ASSERT_TRUE(b.cache->Bump(std::array{row}, {})); };
  Call(a, "k", {row}, "old");  // its token was dropped while it was on the way
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  EXPECT_EQ(Call(b, "k", {row}, "newer"), "new");
}

TEST_P(CacheTest, DropSinceTheLastCheckIsSeen) {
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k", {row}, "old");
  Call(a, "k", {row}, "old");
  EXPECT_EQ(Call(a, "k", {row}, "?"), "old");
  ASSERT_TRUE(b.cache->Bump(std::array{row}, {}));
  EXPECT_EQ(a.cache->Peek(KeyTag("k"), "k", 0), nullptr);
}

TEST_P(CacheTest, ExpiresByTheClock) {
  Process a = Spawn();
  EXPECT_EQ(Call(a, "k", {row}, "old"), "old");
  clock.Advance(seconds(59));
  EXPECT_EQ(Call(a, "k", {row}, "new"), "old");
  clock.Advance(seconds(1));
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
}

TEST_P(CacheTest, TimeOfAnEntryThatWasReplacedMeanwhileIsNotBelieved) {
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k", {row}, "old");
  b.store->older_by = seconds(300);
  EXPECT_EQ(Call(b, "k", {row}, "new"), "old");
  clock.Advance(seconds(60));
  EXPECT_EQ(Call(b, "k", {row}, "new"), "new");
}

TEST_P(CacheTest, ComputedEntriesAreNotStoredBeyondTheLifeOfTheirTokens) {
  Process a = Spawn();
  const Duration life = 2 * a.cache->options().token_ttl;
  for (const Duration ttl : {kNever, Duration(3 * life)}) {
    Answer answer = a.cache->Find("k", {});
    ASSERT_EQ(answer.kind, AnswerKind::kLead);
    Computed computed = Of("x", {}, ttl);
    computed.stale = life;
    ASSERT_EQ(a.cache->Fill(std::move(*answer.lead), std::move(computed)), FillOutcome::kStored);
    EXPECT_EQ(a.cache->Ttl("k"), life);
    ASSERT_TRUE(a.cache->Delete(std::array{std::string("k")}).ok());
  }
  ASSERT_TRUE(a.cache->Put("k", Of("x", {}, kNever), PutCondition::kAlways).ok());
  EXPECT_EQ(a.cache->Ttl("k"), kNever);
}

TEST_P(CacheTest, StaleIsServedWhileOneRefreshes) {
  Process a = Spawn();
  Process b = Spawn();
  FindOptions options;
  options.stale = true;
  Answer first = a.cache->Find("k", options);
  Computed computed = Of("old", {}, seconds(10));
  computed.stale = seconds(30);
  a.cache->Fill(std::move(*first.lead), std::move(computed));
  clock.Advance(seconds(20));
  options.owner = 1;
  Answer leader = a.cache->Find("k", options);
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  EXPECT_EQ(TextOf(leader.local), "old");  // to serve should computing fail
  options.owner = 2;
  Answer waiter = a.cache->Find("k", options);
  ASSERT_EQ(waiter.kind, AnswerKind::kStale);
  EXPECT_EQ(TextOf(waiter.local), "old");
  Answer elsewhere = b.cache->Find("k", options);
  ASSERT_EQ(elsewhere.kind, AnswerKind::kStored);
  EXPECT_TRUE(elsewhere.stored->stale);
  b.cache->Admit(elsewhere, std::make_unique<Text>("old"));
  a.cache->Fill(std::move(*leader.lead), Of("new", {}));
  EXPECT_EQ(Call(a, "k", {}, "newer", options), "new");
  EXPECT_EQ(Call(b, "k", {}, "newer", options), "new");
  clock.Advance(seconds(100));
  EXPECT_EQ(a.cache->Find("k", {}).kind, AnswerKind::kLead);
}

TEST_P(CacheTest, StaleIsServedOutOfTheStoreWhileOneRefreshes) {
  Options without_l1;
  without_l1.local_max_bytes = 0;
  Process a = Spawn(without_l1);
  FindOptions options = As(1);
  options.stale = true;
  options.wait = false;
  Answer first = a.cache->Find("k", options);
  ASSERT_EQ(first.kind, AnswerKind::kLead);
  options.owner = 2;
  EXPECT_EQ(a.cache->Find("k", options).kind, AnswerKind::kWait);
  Computed computed = Of("old", {}, seconds(10));
  computed.stale = seconds(30);
  a.cache->Fill(std::move(*first.lead), std::move(computed));
  clock.Advance(seconds(20));
  options.owner = 1;
  const Answer leader = a.cache->Find("k", options);
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  EXPECT_EQ(leader.stored->entry.payload, "old");
  options.owner = 2;
  const Answer waiter = a.cache->Find("k", options);
  ASSERT_EQ(waiter.kind, AnswerKind::kStored);
  EXPECT_TRUE(waiter.stored->stale);
}

TEST_P(CacheTest, WaitersGetWhatTheLeaderBrings) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  std::vector<std::thread> waiters;
  std::vector<std::string> got(8);
  for (std::size_t i = 0; i < got.size(); ++i) {
    waiters.emplace_back([&, i] { got[i] = Call(a, "k", {}, "own", As(10 + i)); });
  }
  while (a.cache->stats().Get(Counter::kFlightWait) < got.size()) std::this_thread::yield();
  a.cache->Fill(std::move(*leader.lead), Of("shared", {}));
  for (auto& waiter : waiters) waiter.join();
  for (const auto& text : got) EXPECT_EQ(text, "shared");
  EXPECT_EQ(computations, 0);
}

TEST_P(CacheTest, WaiterDoesNotTakeAValueOlderThanItsOwnBeginning) {
  Process a = Spawn();
  Process b = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  const auto tokens = a.cache->Take(std::array{row}, {});
  ASSERT_TRUE(b.cache->Bump(std::array{row}, {}));
  std::string got;
  std::thread waiter([&] { got = Call(a, "k", {row}, "new", As(2)); });
  while (a.cache->stats().Get(Counter::kFlightWait) == 0) std::this_thread::yield();
  a.cache->Fill(std::move(*leader.lead), Of("old", {{row, tokens->at(0)}}));
  waiter.join();
  EXPECT_EQ(got, "new");
}

TEST_P(CacheTest, WaitersOfAnUnsharedResultComputeAtOnce) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  AnswerKind got{};
  std::thread waiter([&] { got = a.cache->Find("k", As(2)).kind; });
  while (a.cache->stats().Get(Counter::kFlightWait) == 0) std::this_thread::yield();
  a.cache->Abandon(std::move(*leader.lead), /*retry=*/false);
  waiter.join();
  EXPECT_EQ(got, AnswerKind::kBypass);
}

TEST_P(CacheTest, OneWaiterTakesOverFromALeaderThatFailed) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  std::string got;
  std::thread waiter([&] { got = Call(a, "k", {}, "second try", As(2)); });
  while (a.cache->stats().Get(Counter::kFlightWait) == 0) std::this_thread::yield();
  leader.lead.reset();
  waiter.join();
  EXPECT_EQ(got, "second try");
  EXPECT_EQ(Call(a, "k", {}, "third"), "second try");
}

TEST_P(CacheTest, CallersOfWhatFailsDoNotTryInTurnForEver) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  std::atomic<int> leads{0};
  std::atomic<int> bypasses{0};
  std::vector<std::thread> callers;
  for (std::uint64_t i = 0; i < 6; ++i) {
    callers.emplace_back([&, i] {
      Answer answer = a.cache->Find("k", As(10 + i));
      ++(answer.kind == AnswerKind::kLead ? leads : bypasses);
      if (answer.kind != AnswerKind::kLead) return;
      // It fails once the others wait for it.
      while (bypasses == 0 &&
             a.cache->stats().Get(Counter::kFlightWait) < (leads == 1 ? 6 + 5 : 6 + 5 + 4)) {
        std::this_thread::yield();
      }
      answer.lead.reset();
    });
  }
  while (a.cache->stats().Get(Counter::kFlightWait) < 6) std::this_thread::yield();
  leader.lead.reset();
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(leads, 2);
  EXPECT_EQ(bypasses, 4);
}

TEST_P(CacheTest, WithoutAnL1HitsOfOneKeyDoNotWaitForEachOther) {
  Options options;
  options.local_max_bytes = 0;
  Process a = Spawn(options);
  ASSERT_EQ(Call(a, "k", {}, "x"), "x");
  Answer first = a.cache->Find("k", As(1));
  ASSERT_EQ(first.kind, AnswerKind::kStored);
  // The first is still being decoded.
  EXPECT_EQ(a.cache->Find("k", As(2)).kind, AnswerKind::kStored);
  EXPECT_EQ(a.cache->stats().Get(Counter::kFlightWait), 0u);
}

TEST_P(CacheTest, CallerThatReentersItsOwnKeyDoesNotWait) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  EXPECT_EQ(a.cache->Find("k", As(1)).kind, AnswerKind::kBypass);
}

TEST_P(CacheTest, CallerOnTheLeadersThreadDoesNotWaitAndDoesNotFail) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  EXPECT_EQ(a.cache->Find("k", As(2)).kind, AnswerKind::kBypass);  // another greenlet, say
  a.cache->Fill(std::move(*leader.lead), Of("x", {}));
  EXPECT_EQ(Call(a, "k", {}, "y", As(2)), "x");
}

TEST_P(CacheTest, CallerThatMayNotWaitSubscribes) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  FindOptions options = As(2);
  options.wait = false;
  Answer waiter = a.cache->Find("k", options);
  ASSERT_EQ(waiter.kind, AnswerKind::kWait);
  int woken = 0;
  waiter.flight->Subscribe([&] { ++woken; });
  EXPECT_EQ(woken, 0);
  a.cache->Fill(std::move(*leader.lead), Of("x", {}));
  EXPECT_EQ(woken, 1);
  waiter.flight->Subscribe([&] { ++woken; });
  EXPECT_EQ(woken, 2);
}

TEST_P(CacheTest, OneProcessComputesAndTheOthersWaitForItsLock) {
  Process a = Spawn();
  Process b = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  std::string got;
  std::thread waiter([&] { got = Call(b, "k", {}, "twice"); });
  while (b.cache->stats().Get(Counter::kLockWait) == 0) std::this_thread::yield();
  a.cache->Fill(std::move(*leader.lead), Of("once", {}));
  waiter.join();
  EXPECT_EQ(got, "once");
  EXPECT_EQ(computations, 0);
}

TEST_P(CacheTest, LockOfWhoCouldNotStoreIsReleasedAfterwards) {
  Process a = Spawn();
  Process b = Spawn();
  for (const bool stores : {true, false}) {
    Answer leader = a.cache->Find("k", As(1));
    ASSERT_EQ(leader.kind, AnswerKind::kLead);
    a.store->SetAvailable(false);
    if (stores) {
      EXPECT_EQ(a.cache->Fill(std::move(*leader.lead), Of("x", {})), FillOutcome::kUnavailable);
    } else {
      a.cache->Abandon(std::move(*leader.lead), /*retry=*/true);
    }
    a.store->SetAvailable(true);
    const auto is_free = [&] { return b.store->Begin("k", 77, seconds(1))->locked; };
    for (int i = 0; i < 1000 && !is_free(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_TRUE(is_free());
    clock.Advance(seconds(1));
  }
}

TEST_P(CacheTest, WhoLosesPatienceWithAnotherProcessLetsTheNextWait) {
  Process a = Spawn();
  Process b = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  std::atomic<bool> patient = true;
  const Patience patience = [&] { return patient.load(); };
  FindOptions options = As(2);
  options.patience = &patience;
  AnswerKind impatient{};
  std::thread first([&] { impatient = b.cache->Find("k", options).kind; });
  while (b.cache->stats().Get(Counter::kLockWait) == 0) std::this_thread::yield();
  std::string got;
  std::thread second([&] { got = Call(b, "k", {}, "twice"); });
  while (b.cache->stats().Get(Counter::kFlightWait) == 0) std::this_thread::yield();
  patient = false;
  clock.Advance(kPatience);
  first.join();
  EXPECT_EQ(impatient, AnswerKind::kBypass);
  a.cache->Fill(std::move(*leader.lead), Of("once", {}));
  second.join();
  EXPECT_EQ(got, "once");
  EXPECT_EQ(computations, 0);
}

TEST_P(CacheTest, WithoutLocksProcessesComputeSideBySide) {
  Options options;
  options.use_lock = false;
  Process a = Spawn(options);
  Process b = Spawn(options);
  Answer leader = a.cache->Find("k", As(1));
  EXPECT_EQ(leader.kind, AnswerKind::kLead);
  EXPECT_EQ(b.cache->Find("k", As(1)).kind, AnswerKind::kLead);
}

TEST_P(CacheTest, UndecodableValueIsReplaced) {
  Process a = Spawn();
  Process b = Spawn();
  Call(b, "k", {}, "bad");
  Answer answer = a.cache->Find("k", {});
  ASSERT_EQ(answer.kind, AnswerKind::kStored);
  answer = {};
  FindOptions distrust;
  distrust.distrust = true;
  answer = a.cache->Find("k", distrust);
  ASSERT_EQ(answer.kind, AnswerKind::kLead);
  a.cache->Fill(std::move(*answer.lead), Of("good", {}));
  Process c = Spawn();
  EXPECT_EQ(Call(c, "k", {}, "?"), "good");
}

TEST_P(CacheTest, ForeignBytesAreAMissAndCounted) {
  Process a = Spawn();
  ASSERT_TRUE(a.store->Put("k", "not an entry", kNever, PutCondition::kAlways).ok());
  EXPECT_EQ(Call(a, "k", {}, "x"), "x");
  EXPECT_GE(a.cache->stats().Get(Counter::kMissCorrupt), 1u);
  Options options;
  options.secret[0] = 1;
  Process stranger = Spawn(options);
  EXPECT_EQ(Call(stranger, "k", {}, "y"), "y");
}

TEST_P(CacheTest, ValueThatIsTooLargeLeavesNoOlderOne) {
  Options options;
  options.max_payload_bytes = 10;
  Process a = Spawn(options);
  for (const auto condition : {PutCondition::kAlways, PutCondition::kIfPresent}) {
    ASSERT_TRUE(a.cache->Put("k", Of("old", {}), PutCondition::kAlways).ok());
    const auto put = a.cache->Put("k", Of("more than ten bytes", {}), condition);
    EXPECT_EQ(put.status().code(), Code::kTooLarge);
    EXPECT_EQ(a.cache->Get("k", 0, Proof::kSlots).kind, AnswerKind::kBypass);
  }
  ASSERT_TRUE(a.cache->Put("k", Of("old", {}), PutCondition::kAlways).ok());
  const auto put = a.cache->Put("k", Of("more than ten bytes", {}), PutCondition::kIfAbsent);
  EXPECT_EQ(put.status().code(), Code::kTooLarge);
  EXPECT_NE(a.cache->Get("k", 0, Proof::kSlots).kind, AnswerKind::kBypass);
}

TEST_P(CacheTest, OversizedEntryIsAMissAndCounted) {
  Process a = Spawn();
  Options options;
  options.max_payload_bytes = 10;
  Process b = Spawn(options);
  Call(a, "k", {}, "more than ten bytes");
  Call(a, "small", {}, "ten bytes!");
  EXPECT_EQ(b.cache->Get("k", 0, Proof::kSlots).kind, AnswerKind::kBypass);
  EXPECT_EQ(b.cache->stats().Get(Counter::kMissCorrupt), 1u);
  EXPECT_EQ(b.cache->Get("small", 0, Proof::kSlots).kind, AnswerKind::kStored);
}

TEST_P(CacheTest, ClearDropsEverythingEverywhere) {
  Process a = Spawn();
  Process b = Spawn();
  Call(a, "k", {row}, "old");
  Call(b, "k", {row}, "old");
  ASSERT_TRUE(b.cache->Put("p", Of("old", {}), PutCondition::kAlways).ok());
  Answer plain = a.cache->Get("p", 0, Proof::kSlots);
  a.cache->Admit(plain, std::make_unique<Text>("old"));
  ASSERT_TRUE(b.cache->Clear().ok());
  EXPECT_EQ(a.cache->Get("p", 0, Proof::kSlots).kind, AnswerKind::kBypass);
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  EXPECT_EQ(Call(b, "k", {row}, "newer"), "new");
}

TEST_P(CacheTest, LargeValuesAreNotStored) {
  Options options;
  options.max_payload_bytes = 10;
  Process a = Spawn(options);
  Answer leader = a.cache->Find("k", {});
  EXPECT_EQ(a.cache->Fill(std::move(*leader.lead), Of("more than ten bytes", {})),
            FillOutcome::kTooLarge);
  EXPECT_EQ(a.cache->Find("k", {}).kind, AnswerKind::kLead);
}

TEST_P(CacheTest, ListenerThatCouldNotBeStartedIsStartedLater) {
  if (GetParam() != Mode::kListener) GTEST_SKIP() << "no listener to start";
  Process a = Spawn();
  a.backplane->startable = false;
  EXPECT_EQ(Call(a, "k", {row}, "one"), "one");
  EXPECT_EQ(Call(a, "k", {row}, "two"), "one");
  EXPECT_FALSE(a.cache->trusted());
  a.backplane->startable = true;
  EXPECT_EQ(Call(a, "k", {row}, "three"), "one");
  EXPECT_TRUE(a.cache->trusted());
}

TEST_P(CacheTest, ListenerThatStartsWhileTheCacheIsClosedIsStopped) {
  if (GetParam() != Mode::kListener) GTEST_SKIP() << "no listener to start";
  Process a = Spawn();
  a.backplane->on_start = [&] { a.cache->Close(); };
  Call(a, "k", {row}, "one");
  EXPECT_FALSE(a.backplane->running);
}

TEST_P(CacheTest, ExceptionOnTheWayOfAMissKeepsNobodyWaiting) {
  FindOptions asking = As(2);
  asking.wait = false;
  for (const std::string_view method : {"Get", "Begin", "Mint", "Fill"}) {
    Process a = Spawn();
    a.store->SetHook([&](std::string_view name) {
      if (name == method) throw std::bad_alloc();
    });
    EXPECT_THROW(Call(a, "k", {row}, "never", As(1)), std::bad_alloc) << method;
    a.store->SetHook({});
    // The lock's release may have been what failed: it ends by itself.
    clock.Advance(seconds(5));
    EXPECT_EQ(a.cache->Find("k", asking).kind, AnswerKind::kLead) << method;
  }
}

TEST_P(CacheTest, ForkedChildLeavesItsParentsLockAlone) {
  Process a = Spawn();
  Answer leader = a.cache->Find("k", As(1));
  ASSERT_EQ(leader.kind, AnswerKind::kLead);
  const pid_t child = fork();
  if (child == 0) {
    a.cache->AfterFork();
    leader.lead.reset();
    const auto begun = a.store->Begin("k", 4711, seconds(5));
    _exit(begun.ok() && !begun->locked ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(CacheTest, ReadsOfWhatIsNotThereLeaveNoSlotsBehind) {
  Process a = Spawn();
  std::vector<std::string> keys(10'000);
  for (std::size_t i = 0; i < 11 * keys.size(); ++i) {
    std::string key = "k" + std::to_string(i);
    keys[i % keys.size()] = std::move(key);
    if ((i + 1) % keys.size() == 0) (void)a.cache->GetMany(keys, Proof::kSlots);
  }
  EXPECT_LE(a.cache->local_use().slots, 100'000u);
}

TEST_P(CacheTest, ReadOfSeveralTakesOneTripForEntriesAndOneForTokens) {
  Process a = Spawn();
  Process b = Spawn();
  const std::vector<std::string> keys = {"one", "two", "three", "none"};
  Call(b, "one", {row}, "1");
  Call(b, "two", {row, other}, "2");
  ASSERT_TRUE(b.cache->Put("three", Of("3", {}), PutCondition::kAlways).ok());
  auto calls = a.store->calls();
  std::vector<Answer> answers = a.cache->GetMany(keys, Proof::kSlots);
  EXPECT_EQ(a.store->calls() - calls, 2u);
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(answers[i].kind, AnswerKind::kStored) << keys[i];
    EXPECT_EQ(answers[i].stored->entry.payload, std::to_string(i + 1));
  }
  EXPECT_EQ(answers[3].kind, AnswerKind::kBypass);
  EXPECT_EQ(a.cache->stats().Get(Counter::kStoreHit), 3u);
  EXPECT_EQ(a.cache->stats().Get(Counter::kMiss), 1u);

  // What is found and is not fresh is a miss.
  ASSERT_TRUE(b.cache->Bump(std::array{other}, {}));
  answers = a.cache->GetMany(keys, Proof::kSlots);
  EXPECT_EQ(answers[0].kind, AnswerKind::kStored);
  EXPECT_EQ(answers[1].kind, AnswerKind::kBypass);
  EXPECT_EQ(a.cache->stats().Get(Counter::kStoreHit), 5u);
  EXPECT_EQ(a.cache->stats().Get(Counter::kMiss), 3u);
}

TEST_P(CacheTest, ReadOfSeveralThatNothingVouchesForTakesNoTripOfEach) {
  Process a = Spawn();
  std::vector<std::string> keys;
  for (int i = 0; i < 50; ++i) {
    keys.push_back("k" + std::to_string(i));
    Call(a, keys.back(), {row}, "v");
  }
  const auto calls = a.store->calls();
  for (const Answer& answer : a.cache->GetMany(keys, Proof::kSlots)) {
    EXPECT_TRUE(answer.kind == AnswerKind::kHit || answer.kind == AnswerKind::kStored);
  }
  EXPECT_LE(a.store->calls() - calls, 2u);
}

TEST_P(CacheTest, ManyInvalidationsAreReplayedInPartsThatStayDone) {
  Process a = Spawn();
  std::vector<Tag> tags;
  for (int i = 0; i < 5000; ++i) {
    tags.push_back(MakeTag(TagKind::kRow, "db/shop_product", std::to_string(i)));
  }
  a.store->SetAvailable(false);
  EXPECT_FALSE(a.cache->Bump(tags, {}));
  a.store->SetAvailable(true);
  int bumps = 0;
  a.store->SetHook([&](std::string_view method) {
    // The second part fails.
    if (method == "Bump" && ++bumps == 2) a.store->SetAvailable(false);
  });
  EXPECT_EQ(a.cache->Find("k", {}).kind, AnswerKind::kBypass);
  EXPECT_EQ(bumps, 2);
  a.store->SetAvailable(true);
  EXPECT_EQ(Call(a, "k", {row}, "new"), "new");
  EXPECT_EQ(bumps, 4);  // the other two parts
}

TEST_P(CacheTest, WhoNeverReadsTellsWhatItChangedOnceTheStoreIsBack) {
  Options options;
  options.replay_pause = std::chrono::milliseconds(1);
  Process writer = Spawn(options);
  Process reader = Spawn();
  for (const std::string_view round : {"first", "second"}) {  // its thread ends in between
    const std::string key(round);
    EXPECT_EQ(Call(reader, key, {row}, "old"), "old");
    EXPECT_EQ(Call(reader, key + "'s own", {}, "old"), "old");
    writer.store->SetAvailable(false);
    EXPECT_FALSE(writer.cache->Bump(std::array{row}, {}));
    EXPECT_FALSE(writer.cache->Delete(std::array{key + "'s own"}).ok());
    EXPECT_EQ(Call(reader, key, {row}, "new"), "old");
    writer.store->SetAvailable(true);
    while (reader.cache->Get(key, 0, Proof::kSlots).kind != AnswerKind::kBypass) {
      std::this_thread::yield();
    }
    while (reader.cache->Get(key + "'s own", 0, Proof::kSlots).kind != AnswerKind::kBypass) {
      std::this_thread::yield();
    }
  }
}

TEST_P(CacheTest, ForkedChildLeavesItToItsParentToTellWhatIsPending) {
  Process writer = Spawn();
  writer.store->SetAvailable(false);
  EXPECT_FALSE(writer.cache->Bump(std::array{row}, {}));
  const pid_t child = fork();
  if (child == 0) {
    writer.cache->AfterFork();
    writer.store->SetAvailable(true);
    const auto calls = writer.store->calls();
    writer.cache->Close();
    _exit(writer.store->calls() == calls ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(CacheTest, ClosingTriesOnceMoreToSendWhatIsPending) {
  Process a = Spawn();
  Process b = Spawn();
  EXPECT_EQ(Call(b, "k", {row}, "old"), "old");
  a.store->SetAvailable(false);
  EXPECT_FALSE(a.cache->Bump(std::array{row}, {}));
  a.store->SetAvailable(true);
  a.cache->Close();
  EXPECT_EQ(Call(b, "k", {row}, "new"), "new");
}

TEST_P(CacheTest, ClosedCacheBypasses) {
  Process a = Spawn();
  Call(a, "k", {}, "x");
  a.cache->Close();
  EXPECT_EQ(a.cache->Peek(KeyTag("k"), "k", 0), nullptr);
  EXPECT_EQ(a.cache->Find("k", {}).kind, AnswerKind::kBypass);
}

// Readers on several threads and processes while a writer counts up: whoever begins after a bump
// was acknowledged sees that count or a later one, at once in the embedded and the unlistened mode.
TEST_P(CacheTest, NoReadIsOlderThanTheLastAcknowledgedWrite) {
  Process a = Spawn();
  Process b = Spawn();
  std::atomic<int> committed{0};
  std::atomic<int> acknowledged{0};
  std::atomic<bool> done{false};
  std::atomic<int> late{0};
  std::atomic<int> reads{0};
  const auto read = [&](Process& process, std::uint64_t owner) {
    while (!done) {
      const int must = acknowledged;
      Answer answer = process.cache->Find("k", As(owner));
      std::string text;
      if (answer.kind == AnswerKind::kHit) {
        text = TextOf(answer.local);
      } else if (answer.kind == AnswerKind::kStored) {
        text = answer.stored->entry.payload;
        process.cache->Admit(answer, std::make_unique<Text>(text));
      } else if (answer.kind == AnswerKind::kLead) {
        const auto tokens = process.cache->Take(std::array{row}, {});
        text = std::to_string(committed);
        std::this_thread::yield();
        process.cache->Fill(std::move(*answer.lead), Of(text, {{row, tokens->at(0)}}));
      } else {
        continue;
      }
      if (std::stoi(text) < must) ++late;
      ++reads;
    }
  };
  std::vector<std::thread> readers;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    readers.emplace_back([&, i] { read(a, i); });
    readers.emplace_back([&, i] { read(b, i); });
  }
  for (int i = 1; i <= 300; ++i) {
    committed = i;
    ASSERT_TRUE(a.cache->Bump(std::array{row}, {}));
    acknowledged = i;
    // Let reads of the new state begin, so that each count is cached, hit and dropped.
    for (const int before = reads; reads < before + 8;) std::this_thread::yield();
  }
  done = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(late, 0);
}

}  // namespace
}  // namespace smartcache
