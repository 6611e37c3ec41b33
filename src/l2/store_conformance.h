// What every store promises, as one test suite over all of them. A store's x_test.cpp writes a
// harness and
//   INSTANTIATE_TYPED_TEST_SUITE_P(Memory, StoreConformance, MemoryHarness);
// A harness is default-constructible, one for each test, on data of its own that begin empty:
//   static constexpr bool kEmbedded;  // Store::ChangeCounter() counts
//   std::unique_ptr<Store> Open(const Options&);  // each call: one more process on the data
//   bool Eventually(Duration span, const std::function<bool()>& condition);
//   // Lets `span` pass, on a manual clock at once, else by waiting. True as soon as the condition
//   // holds; false when it still does not a good while after.
// A harness that cannot run here calls GTEST_SKIP() in its constructor and is not asked further.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "smartcache/options.h"
#include "smartcache/store.h"

namespace smartcache {

template <class Harness>
class StoreConformance : public testing::Test {
 protected:
  using Tags = std::vector<Tag>;
  static constexpr Duration kLease = std::chrono::seconds(5);
  static constexpr Duration kShort = std::chrono::milliseconds(60);
  static constexpr Duration kLong = std::chrono::minutes(5);

  void SetUp() override {
    if (!this->IsSkipped()) store_ = Open();
  }
  std::unique_ptr<Store> Open() {
    Options options;
    options.prefix = "conformance";
    return harness_.Open(options);
  }
  // The present token of one tag.
  static Token TokenOf(Store& store, Tag tag) {
    const auto reply = store.Tokens(Tags{tag});
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    return reply.ok() ? reply->tokens.at(0).token : kNoToken;
  }
  static Token MintOne(Store& store, Tag tag) {
    const auto reply = store.Mint(Tags{tag}, {});
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    return reply.ok() ? reply->tokens.at(0).token : kNoToken;
  }
  // The stored envelope, or "(none)".
  static std::string Read(Store& store, std::string_view key) {
    const auto reply = store.Get(key, {});
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    return reply.ok() && reply->entry ? reply->entry->envelope : "(none)";
  }
  static bool Put(Store& store, std::string_view key, std::string_view envelope,
                  Duration ttl = kLong, PutCondition condition = PutCondition::kAlways) {
    const auto reply = store.Put(key, envelope, ttl, condition);
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    return reply.ok() && reply->stored;
  }
  static bool Fill(Store& store, std::string_view key, std::string_view envelope, Token key_token,
                   std::uint64_t lock_owner = 0) {
    const auto filled = store.Fill({key, envelope, kLong, key_token, lock_owner});
    EXPECT_TRUE(filled.ok()) << filled.status().message();
    return filled.ok() && *filled;
  }

  Harness harness_;
  std::unique_ptr<Store> store_;
};

TYPED_TEST_SUITE_P(StoreConformance);

TYPED_TEST_P(StoreConformance, MissesWhatWasNeverStored) {
  const auto reply = this->store_->Get("nothing", std::vector<Tag>{1, 2});
  ASSERT_TRUE(reply.ok());
  EXPECT_FALSE(reply->entry.has_value());
  ASSERT_EQ(reply->tokens.size(), 2u);
  EXPECT_EQ(reply->tokens[0].token, kNoToken);
  EXPECT_NE(reply->epoch, 0u);
}

TYPED_TEST_P(StoreConformance, KeepsAnyBytesUnderAnyKey) {
  std::string bytes;
  for (int i = 0; i < 70'000; ++i) bytes.push_back(static_cast<char>(i * 31));
  const std::string keys[] = {"plain", std::string("nul\0inside", 10), std::string(1000, 'k'),
                              "ключ", " "};
  for (const std::string& key : keys) {
    EXPECT_TRUE(this->Put(*this->store_, key, bytes));
    EXPECT_EQ(this->Read(*this->store_, key), bytes);
  }
  EXPECT_TRUE(this->Put(*this->store_, "plain", "short"));
  EXPECT_EQ(this->Read(*this->store_, "plain"), "short");
}

TYPED_TEST_P(StoreConformance, TellsTheRemainingTime) {
  this->Put(*this->store_, "bounded", "v", this->kLong);
  this->Put(*this->store_, "endless", "v", kNever);
  const auto bounded = this->store_->Get("bounded", {});
  ASSERT_TRUE(bounded.ok() && bounded->entry);
  EXPECT_LE(bounded->entry->ttl, this->kLong);
  EXPECT_GT(bounded->entry->ttl, this->kLong - std::chrono::minutes(1));
  const auto endless = this->store_->Get("endless", {});
  ASSERT_TRUE(endless.ok() && endless->entry);
  EXPECT_EQ(endless->entry->ttl, kNever);
}

TYPED_TEST_P(StoreConformance, ExpiresEntries) {
  this->Put(*this->store_, "brief", "v", this->kShort);
  EXPECT_EQ(this->Read(*this->store_, "brief"), "v");
  EXPECT_TRUE(this->harness_.Eventually(
      this->kShort, [&] { return this->Read(*this->store_, "brief") == "(none)"; }));
  EXPECT_FALSE(this->Put(*this->store_, "brief", "w", this->kLong, PutCondition::kIfPresent));
  EXPECT_TRUE(this->Put(*this->store_, "brief", "w", this->kLong, PutCondition::kIfAbsent));
}

TYPED_TEST_P(StoreConformance, PutsByCondition) {
  EXPECT_FALSE(this->Put(*this->store_, "k", "a", this->kLong, PutCondition::kIfPresent));
  EXPECT_TRUE(this->Put(*this->store_, "k", "b", this->kLong, PutCondition::kIfAbsent));
  EXPECT_FALSE(this->Put(*this->store_, "k", "c", this->kLong, PutCondition::kIfAbsent));
  EXPECT_EQ(this->Read(*this->store_, "k"), "b");
  EXPECT_TRUE(this->Put(*this->store_, "k", "d", this->kLong, PutCondition::kIfPresent));
  EXPECT_EQ(this->Read(*this->store_, "k"), "d");
}

TYPED_TEST_P(StoreConformance, RefusedPutChangesNothing) {
  this->Put(*this->store_, "k", "a");
  const Token token = this->MintOne(*this->store_, KeyTag("k"));
  EXPECT_FALSE(this->Put(*this->store_, "k", "b", this->kLong, PutCondition::kIfAbsent));
  EXPECT_EQ(this->TokenOf(*this->store_, KeyTag("k")), token);
}

TYPED_TEST_P(StoreConformance, MintsOnceAndTellsOthers) {
  const auto other = this->Open();
  const auto reply = this->store_->Mint(std::vector<Tag>{7, 8}, {});
  ASSERT_TRUE(reply.ok());
  ASSERT_EQ(reply->tokens.size(), 2u);
  EXPECT_NE(reply->tokens[0].token, kNoToken);
  EXPECT_NE(reply->tokens[0].token, reply->tokens[1].token);
  EXPECT_GT(reply->tokens[0].ttl, Options().token_ttl - std::chrono::minutes(1));
  EXPECT_EQ(this->MintOne(*other, 7), reply->tokens[0].token);
  EXPECT_EQ(this->TokenOf(*other, 8), reply->tokens[1].token);
  const auto read = other->Get("nothing", std::vector<Tag>{8, 9, 7});
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->tokens.size(), 3u);
  EXPECT_EQ(read->tokens[0].token, reply->tokens[1].token);
  EXPECT_EQ(read->tokens[1].token, kNoToken);
  EXPECT_EQ(read->tokens[2].token, reply->tokens[0].token);
}

TYPED_TEST_P(StoreConformance, BumpDropsTheTokensForAll) {
  const auto other = this->Open();
  const Token seven = this->MintOne(*this->store_, 7);
  const Token eight = this->MintOne(*this->store_, 8);
  ASSERT_TRUE(other->Bump(std::vector<Tag>{7, 99}, {}).ok());
  EXPECT_EQ(this->TokenOf(*this->store_, 7), kNoToken);
  EXPECT_EQ(this->TokenOf(*this->store_, 8), eight);
  const Token again = this->MintOne(*this->store_, 7);
  EXPECT_NE(again, kNoToken);
  EXPECT_NE(again, seven);
}

TYPED_TEST_P(StoreConformance, TakesManyTagsOfOneBucketAndOfAll) {
  std::vector<Tag> tags;
  for (Tag i = 0; i < 600; ++i) tags.push_back(((i % 256) << 56) | (i + 1));
  const auto minted = this->store_->Mint(tags, {});
  ASSERT_TRUE(minted.ok());
  ASSERT_EQ(minted->tokens.size(), tags.size());
  std::set<Token> distinct;
  for (const TokenReply& token : minted->tokens) distinct.insert(token.token);
  EXPECT_EQ(distinct.size(), tags.size());
  const std::vector<Tag> half(tags.begin(), tags.begin() + 300);
  ASSERT_TRUE(this->store_->Bump(half, {}).ok());
  const auto left = this->store_->Tokens(tags);
  ASSERT_TRUE(left.ok());
  for (std::size_t i = 0; i < tags.size(); ++i) {
    EXPECT_EQ(left->tokens[i].token, i < 300 ? kNoToken : minted->tokens[i].token) << i;
  }
}

TYPED_TEST_P(StoreConformance, ExpiresTokens) {
  Options options;
  options.prefix = "conformance";
  options.token_ttl = this->kShort;
  const auto brief = this->harness_.Open(options);
  const Token first = this->MintOne(*brief, 7);
  // Stores may keep tokens longer than asked, not shorter, so that a refresh need not be a write
  // each time.
  EXPECT_TRUE(this->harness_.Eventually(3 * this->kShort,
                                        [&] { return this->TokenOf(*brief, 7) == kNoToken; }));
  EXPECT_NE(this->MintOne(*brief, 7), first);
}

TYPED_TEST_P(StoreConformance, FillsOnlyUnderThePresentKeyToken) {
  const auto begun = this->store_->Begin("k", 0, this->kLease);
  ASSERT_TRUE(begun.ok());
  EXPECT_TRUE(begun->locked);
  EXPECT_FALSE(begun->entry.has_value());
  EXPECT_TRUE(this->Fill(*this->store_, "k", "computed", begun->key_token.token));
  EXPECT_EQ(this->Read(*this->store_, "k"), "computed");
  const auto other = this->Open();
  ASSERT_TRUE(other->Bump(std::vector<Tag>{KeyTag("k")}, {}).ok());
  EXPECT_FALSE(this->Fill(*this->store_, "k", "late", begun->key_token.token));
  EXPECT_NE(this->Read(*this->store_, "k"), "late");
  EXPECT_FALSE(this->Fill(*this->store_, "never begun", "v", kNoToken));
}

TYPED_TEST_P(StoreConformance, BeginShowsWhatSomebodyFilled) {
  const auto other = this->Open();
  const auto first = this->store_->Begin("k", 0, this->kLease);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(this->Fill(*this->store_, "k", "computed", first->key_token.token));
  const auto second = other->Begin("k", 11, this->kLease);
  ASSERT_TRUE(second.ok() && second->entry);
  EXPECT_EQ(second->entry->envelope, "computed");
  EXPECT_EQ(second->key_token.token, first->key_token.token);
}

TYPED_TEST_P(StoreConformance, ExplicitStoreOvertakesAComputation) {
  const auto other = this->Open();
  for (const char* how : {"put", "delete", "touch"}) {
    this->Put(*this->store_, "k", "before");
    const auto begun = this->store_->Begin("k", 0, this->kLease);
    ASSERT_TRUE(begun.ok());
    if (*how == 'p') this->Put(*other, "k", "explicit");
    if (*how == 'd') {
      EXPECT_TRUE(other->Delete(std::vector<std::string>{"k"}).ok());
    }
    if (*how == 't') {
      EXPECT_TRUE(other->Touch("k", this->kLong).ok());
    }
    EXPECT_FALSE(this->Fill(*this->store_, "k", "computed", begun->key_token.token)) << how;
  }
}

TYPED_TEST_P(StoreConformance, DeletesAndCounts) {
  this->Put(*this->store_, "a", "1");
  this->Put(*this->store_, "b", "2");
  this->Put(*this->store_, "c", "3");
  const auto deleted = this->store_->Delete(std::vector<std::string>{"a", "nothing", "c"});
  ASSERT_TRUE(deleted.ok());
  EXPECT_EQ(*deleted, 2u);
  EXPECT_EQ(this->Read(*this->store_, "a"), "(none)");
  EXPECT_EQ(this->Read(*this->store_, "b"), "2");
}

TYPED_TEST_P(StoreConformance, TouchMovesTheEnd) {
  const auto none = this->store_->Touch("k", this->kLong);
  EXPECT_TRUE(none.ok() && !*none);
  this->Put(*this->store_, "k", "v", this->kShort);
  const auto touched = this->store_->Touch("k", this->kLong);
  EXPECT_TRUE(touched.ok() && *touched);
  this->Put(*this->store_, "witness", "v", this->kShort);
  EXPECT_TRUE(this->harness_.Eventually(
      this->kShort, [&] { return this->Read(*this->store_, "witness") == "(none)"; }));
  EXPECT_EQ(this->Read(*this->store_, "k"), "v");
  ASSERT_TRUE(this->store_->Touch("k", kNever).ok());
  EXPECT_EQ(this->store_->Get("k", {})->entry->ttl, kNever);
}

TYPED_TEST_P(StoreConformance, GetsManyInOrder) {
  this->Put(*this->store_, "a", "1");
  this->Put(*this->store_, "c", "3", kNever);
  const auto replies = this->store_->GetMany(std::vector<std::string>{"c", "b", "a", "a"});
  ASSERT_TRUE(replies.ok());
  ASSERT_EQ(replies->size(), 4u);
  EXPECT_EQ(replies->at(0).entry->envelope, "3");
  EXPECT_EQ(replies->at(0).entry->ttl, kNever);
  EXPECT_FALSE(replies->at(1).entry.has_value());
  EXPECT_EQ(replies->at(2).entry->envelope, "1");
  EXPECT_EQ(replies->at(3).entry->envelope, "1");
  EXPECT_NE(replies->at(0).epoch, 0u);
}

TYPED_TEST_P(StoreConformance, ClearsAllButLocks) {
  const auto other = this->Open();
  const SchemeRequest scheme{7, 8, "a"};
  ASSERT_TRUE(this->store_->Mint(std::vector<Tag>{5}, std::span(&scheme, 1)).ok());
  this->Put(*this->store_, "k", "v");
  ASSERT_TRUE(this->store_->Begin("locked", 11, this->kLease)->locked);
  ASSERT_TRUE(*this->store_->TryUserLock("mine", 12, this->kLease));
  ASSERT_TRUE(other->Clear().ok());
  EXPECT_EQ(this->Read(*this->store_, "k"), "(none)");
  EXPECT_EQ(this->TokenOf(*this->store_, 5), kNoToken);
  EXPECT_FALSE(other->Begin("locked", 13, this->kLease)->locked);
  EXPECT_FALSE(*other->TryUserLock("mine", 14, this->kLease));
  const SchemeKnowledge known{7, 8, 0};
  EXPECT_EQ(this->store_->Bump({}, std::span(&known, 1))->schemes.at(0).version, 0u);
  this->Put(*other, "k", "again");
  EXPECT_EQ(this->Read(*this->store_, "k"), "again");
}

TYPED_TEST_P(StoreConformance, OneOwnerHoldsTheLock) {
  const auto other = this->Open();
  EXPECT_TRUE(this->store_->Begin("k", 11, this->kLease)->locked);
  EXPECT_FALSE(other->Begin("k", 12, this->kLease)->locked);
  EXPECT_TRUE(other->Begin("another", 12, this->kLease)->locked);
  EXPECT_TRUE(*this->store_->RenewLock("k", 11, this->kLease));
  EXPECT_FALSE(*other->RenewLock("k", 12, this->kLease));
  EXPECT_TRUE(this->store_->Fill({"k", {}, kNever, kNoToken, 12}).ok());  // not the holder's
  EXPECT_FALSE(other->Begin("k", 12, this->kLease)->locked);
  EXPECT_TRUE(this->store_->Fill({"k", {}, kNever, kNoToken, 11}).ok());
  EXPECT_EQ(this->Read(*this->store_, "k"), "(none)");
  EXPECT_TRUE(other->Begin("k", 12, this->kLease)->locked);
}

TYPED_TEST_P(StoreConformance, RejectedFillReleasesTheLockToo) {
  const auto other = this->Open();
  const auto begun = this->store_->Begin("k", 11, this->kLease);
  ASSERT_TRUE(other->Bump(std::vector<Tag>{KeyTag("k")}, {}).ok());
  EXPECT_FALSE(this->Fill(*this->store_, "k", "late", begun->key_token.token, 11));
  EXPECT_TRUE(other->Begin("k", 12, this->kLease)->locked);
}

TYPED_TEST_P(StoreConformance, LockOfADeadHolderEndsWithItsLease) {
  const auto other = this->Open();
  ASSERT_TRUE(this->store_->Begin("k", 11, this->kShort)->locked);
  EXPECT_FALSE(other->Begin("k", 12, this->kLease)->locked);
  EXPECT_TRUE(this->harness_.Eventually(
      this->kShort, [&] { return other->Begin("k", 12, this->kLease)->locked; }));
  EXPECT_FALSE(*this->store_->RenewLock("k", 11, this->kLease));
  // The one who comes back late neither takes nor releases the successor's lock.
  EXPECT_TRUE(this->store_->Fill({"k", {}, kNever, kNoToken, 11}).ok());
  EXPECT_FALSE(this->store_->Begin("k", 13, this->kLease)->locked);
}

TYPED_TEST_P(StoreConformance, WaitersAreWokenByTheFill) {
  const auto free = this->store_->AwaitUnlock("k", this->kLease);
  EXPECT_TRUE(free.ok() && *free);
  const auto begun = this->store_->Begin("k", 11, this->kLease);
  ASSERT_TRUE(begun->locked);
  const auto other = this->Open();
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] {
      const auto unlocked = other->AwaitUnlock("k", this->kLong);
      woken += unlocked.ok() && *unlocked ? 1 : 0;
    });
  }
  EXPECT_TRUE(this->Fill(*this->store_, "k", "computed", begun->key_token.token, 11));
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(woken.load(), 3);
  EXPECT_EQ(this->Read(*other, "k"), "computed");
}

TYPED_TEST_P(StoreConformance, WaitingEndsWithItsTimeout) {
  const auto other = this->Open();
  ASSERT_TRUE(this->store_->Begin("k", 11, this->kLease)->locked);
  const auto unlocked = other->AwaitUnlock("k", Duration(0));
  EXPECT_TRUE(unlocked.ok() && !*unlocked);
}

TYPED_TEST_P(StoreConformance, UserLocksAreApartFromEntryLocks) {
  const auto other = this->Open();
  ASSERT_TRUE(this->store_->Begin("k", 11, this->kLease)->locked);
  EXPECT_TRUE(*other->TryUserLock("k", 21, this->kLease));
  EXPECT_FALSE(*this->store_->TryUserLock("k", 22, this->kLease));
  EXPECT_FALSE(*this->store_->UserUnlock("k", 22));
  EXPECT_TRUE(*other->UserUnlock("k", 21));
  EXPECT_FALSE(*other->UserUnlock("k", 21));
  EXPECT_TRUE(*this->store_->TryUserLock("k", 22, this->kShort));
  EXPECT_TRUE(this->harness_.Eventually(
      this->kShort, [&] { return *other->TryUserLock("k", 23, this->kLease); }));
}

TYPED_TEST_P(StoreConformance, RegisteringASchemeDropsTheConditionBulk) {
  const Tag table = 7, bulk = 8;
  const Token before = this->MintOne(*this->store_, bulk);
  const SchemeRequest kind{table, bulk, "kind"};
  const auto minted = this->store_->Mint(std::vector<Tag>{bulk}, std::span(&kind, 1));
  ASSERT_TRUE(minted.ok());
  EXPECT_NE(minted->tokens.at(0).token, before);
  // Known already: nothing is dropped.
  const auto again = this->store_->Mint(std::vector<Tag>{bulk}, std::span(&kind, 1));
  EXPECT_EQ(again->tokens.at(0).token, minted->tokens.at(0).token);
  // One more combination: a new version, told to the writer by its next bump.
  const SchemeKnowledge nothing{table, bulk, 0};
  const auto first = this->store_->Bump({}, std::span(&nothing, 1));
  ASSERT_TRUE(first.ok());
  const SchemeRequest country{table, bulk, "country_id,kind"};
  ASSERT_TRUE(this->store_->Mint({}, std::span(&country, 1)).ok());
  const auto second = this->store_->Bump({}, std::span(&nothing, 1));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(first->schemes.at(0).columns, std::vector<std::string>{"kind"});
  EXPECT_NE(second->schemes.at(0).version, first->schemes.at(0).version);
  const auto& columns = second->schemes.at(0).columns;
  EXPECT_EQ(std::set<std::string>(columns.begin(), columns.end()),
            (std::set<std::string>{"kind", "country_id,kind"}));
}

TYPED_TEST_P(StoreConformance, BumpWithStaleSchemesDropsTheConditionBulk) {
  const Tag table = 7, bulk = 8;
  const SchemeRequest kind{table, bulk, "kind"};
  const Token token =
      this->store_->Mint(std::vector<Tag>{bulk}, std::span(&kind, 1))->tokens.at(0).token;
  SchemeKnowledge known{table, bulk, 0};
  const auto ignorant = this->store_->Bump(std::vector<Tag>{table}, std::span(&known, 1));
  ASSERT_TRUE(ignorant.ok());
  EXPECT_EQ(ignorant->also_bumped, std::vector<Tag>{bulk});
  EXPECT_NE(ignorant->schemes.at(0).version, 0u);
  EXPECT_EQ(this->TokenOf(*this->store_, bulk), kNoToken);
  const Token next = this->MintOne(*this->store_, bulk);
  EXPECT_NE(next, token);
  known.version = ignorant->schemes.at(0).version;
  const auto informed = this->store_->Bump(std::vector<Tag>{table}, std::span(&known, 1));
  ASSERT_TRUE(informed.ok());
  EXPECT_TRUE(informed->also_bumped.empty());
  EXPECT_EQ(informed->schemes.at(0).version, known.version);
  EXPECT_EQ(this->TokenOf(*this->store_, bulk), next);
  // A set that is gone (cleared, evicted) is not the one known.
  const SchemeKnowledge lost{77, 78, 4711};
  this->MintOne(*this->store_, 78);
  const auto missing = this->store_->Bump({}, std::span(&lost, 1));
  ASSERT_TRUE(missing.ok());
  EXPECT_EQ(missing->schemes.at(0).version, 0u);
  EXPECT_EQ(missing->also_bumped, std::vector<Tag>{78});
  EXPECT_EQ(this->TokenOf(*this->store_, 78), kNoToken);
}

TYPED_TEST_P(StoreConformance, TokensOfADeadWritersTagsEndWithItsLease) {
  const auto other = this->Open();
  const Token before = this->MintOne(*this->store_, 7);
  const Token spared = this->MintOne(*this->store_, 9);
  ASSERT_TRUE(other->Mark(11, this->kShort, std::vector<Tag>{7, 8}, {}).ok());
  // Marked is not bumped; and nobody prolongs what is there, or creates what outlives the lease.
  EXPECT_EQ(this->MintOne(*this->store_, 7), before);
  const auto minted = this->store_->Mint(std::vector<Tag>{7, 8}, {});
  ASSERT_TRUE(minted.ok());
  for (const TokenReply& reply : minted->tokens) EXPECT_LE(reply.ttl, this->kShort);
  EXPECT_TRUE(this->harness_.Eventually(this->kShort, [&] {
    return this->TokenOf(*this->store_, 7) == kNoToken &&
           this->TokenOf(*this->store_, 8) == kNoToken;
  }));
  EXPECT_EQ(this->TokenOf(*this->store_, 9), spared);
  // The lease is over: tokens live as long as ever.
  EXPECT_NE(this->MintOne(*this->store_, 7), before);
  EXPECT_GT(this->store_->Mint(std::vector<Tag>{7}, {})->tokens.at(0).ttl, this->kLong);
}

TYPED_TEST_P(StoreConformance, BumpTakesTheMarksBack) {
  const std::vector<Tag> tags = {7, 8, 9};
  const auto minted = this->store_->Mint(tags, {});
  ASSERT_TRUE(minted.ok());
  ASSERT_TRUE(this->store_->Mark(11, this->kLease, tags, {}).ok());
  const auto marked = this->store_->Mint(tags, {});
  ASSERT_TRUE(marked.ok());
  for (const TokenReply& reply : marked->tokens) EXPECT_LE(reply.ttl, this->kLease);
  // What was marked and has not changed lives on.
  ASSERT_TRUE(this->store_->Bump(std::vector<Tag>{7}, {}, {11, std::vector<Tag>{7, 8}}).ok());
  const auto left = this->store_->Mint(tags, {});
  ASSERT_TRUE(left.ok());
  EXPECT_NE(left->tokens[0].token, minted->tokens[0].token);
  EXPECT_EQ(left->tokens[1].token, minted->tokens[1].token);
  EXPECT_GT(left->tokens[0].ttl, this->kLong);
  EXPECT_GT(left->tokens[1].ttl, this->kLong);
  EXPECT_LE(left->tokens[2].ttl, this->kLease) << "is marked still";
}

TYPED_TEST_P(StoreConformance, OneWriterDoesNotTakeBackAnothersMarks) {
  const auto other = this->Open();
  this->MintOne(*this->store_, 7);
  ASSERT_TRUE(this->store_->Mark(11, this->kLong, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(other->Mark(12, this->kLease, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(this->store_->Bump(std::vector<Tag>{7}, {}, {11, std::vector<Tag>{7}}).ok());
  const auto between = this->store_->Mint(std::vector<Tag>{7}, {});
  ASSERT_TRUE(between.ok());
  EXPECT_LE(between->tokens[0].ttl, this->kLease);
  // The first one's deadline was the later one: what is left of it does not count any more.
  ASSERT_TRUE(this->store_->Mark(13, this->kShort, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(this->store_->Bump({}, {}, {13, std::vector<Tag>{7}}).ok());
  const auto restored = this->store_->Mint(std::vector<Tag>{7}, {});
  ASSERT_TRUE(restored.ok());
  EXPECT_EQ(restored->tokens[0].token, between->tokens[0].token);
  EXPECT_GT(restored->tokens[0].ttl, this->kShort);
  EXPECT_LE(restored->tokens[0].ttl, this->kLease);
}

TYPED_TEST_P(StoreConformance, RenewedMarkLastsLonger) {
  ASSERT_TRUE(this->store_->Mark(11, this->kShort, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(this->store_->Mark(11, this->kLease, std::vector<Tag>{7}, {}).ok());
  const auto minted = this->store_->Mint(std::vector<Tag>{7}, {});
  ASSERT_TRUE(minted.ok());
  EXPECT_GT(minted->tokens[0].ttl, this->kShort);
  EXPECT_LE(minted->tokens[0].ttl, this->kLease);
  ASSERT_TRUE(this->store_->Bump({}, {}, {11, std::vector<Tag>{7}}).ok());
  EXPECT_GT(this->store_->Mint(std::vector<Tag>{7}, {})->tokens.at(0).ttl, this->kLong);
}

TYPED_TEST_P(StoreConformance, TokensLiveOnWithARenewedMark) {
  const Token before = this->MintOne(*this->store_, 7);
  ASSERT_TRUE(this->store_->Mark(11, this->kShort, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(this->store_->Mark(11, this->kLease, std::vector<Tag>{7}, {}).ok());
  const auto renewed = this->store_->Mint(std::vector<Tag>{7}, {});
  ASSERT_TRUE(renewed.ok());
  EXPECT_EQ(renewed->tokens[0].token, before);
  EXPECT_GT(renewed->tokens[0].ttl, this->kShort);
  EXPECT_LE(renewed->tokens[0].ttl, this->kLease);
}

TYPED_TEST_P(StoreConformance, NoRenewalProlongsPastAnothersDeadline) {
  const auto other = this->Open();
  this->MintOne(*this->store_, 7);
  ASSERT_TRUE(this->store_->Mark(11, this->kShort, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(other->Mark(12, this->kLease, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(other->Mark(12, this->kLease, std::vector<Tag>{7}, {}).ok());
  EXPECT_LE(this->store_->Mint(std::vector<Tag>{7}, {})->tokens.at(0).ttl, this->kShort);
  EXPECT_TRUE(this->harness_.Eventually(
      this->kShort, [&] { return this->TokenOf(*this->store_, 7) == kNoToken; }));
}

TYPED_TEST_P(StoreConformance, MarksOutliveAClear) {
  const auto other = this->Open();
  ASSERT_TRUE(this->store_->Mark(11, this->kLease, std::vector<Tag>{7}, {}).ok());
  ASSERT_TRUE(other->Clear().ok());
  EXPECT_LE(other->Mint(std::vector<Tag>{7}, {})->tokens.at(0).ttl, this->kLease);
}

TYPED_TEST_P(StoreConformance, SchemeThatAMarkingWriterDidNotKnowEndsWithItsLease) {
  const Tag table = 7, bulk = 8;
  const SchemeRequest kind{table, bulk, "kind"}, country{table, bulk, "country_id"};
  ASSERT_TRUE(this->store_->Mint(std::vector<Tag>{bulk}, std::span(&kind, 1)).ok());
  SchemeKnowledge known{table, bulk, 0};
  known.version = this->store_->Bump({}, std::span(&known, 1))->schemes.at(0).version;
  const Token token = this->MintOne(*this->store_, bulk);
  // One who knows them all leaves the condition-bulk tag alone, until somebody registers more.
  ASSERT_TRUE(
      this->store_->Mark(11, this->kLease, std::vector<Tag>{table}, std::span(&known, 1)).ok());
  EXPECT_EQ(this->TokenOf(*this->store_, bulk), token);
  EXPECT_GT(this->store_->Mint(std::vector<Tag>{bulk}, {})->tokens.at(0).ttl, this->kLong);
  const auto late = this->store_->Mint(std::vector<Tag>{bulk}, std::span(&country, 1));
  ASSERT_TRUE(late.ok());
  EXPECT_LE(late->tokens.at(0).ttl, this->kLease);
  ASSERT_TRUE(
      this->store_
          ->Bump(std::vector<Tag>{table}, std::span(&known, 1), {11, std::vector<Tag>{table, bulk}})
          .ok());
  EXPECT_GT(this->store_->Mint(std::vector<Tag>{bulk}, {})->tokens.at(0).ttl, this->kLong);
  // And one who knows nothing marks it at once.
  const SchemeKnowledge nothing{table, bulk, 0};
  ASSERT_TRUE(
      this->store_->Mark(12, this->kLease, std::vector<Tag>{table}, std::span(&nothing, 1)).ok());
  EXPECT_LE(this->store_->Mint(std::vector<Tag>{bulk}, {})->tokens.at(0).ttl, this->kLease);
}

TYPED_TEST_P(StoreConformance, KeyTokensAreMarkedToo) {
  const Tag tag = KeyTag("k");
  ASSERT_TRUE(this->store_->Mark(11, this->kLease, std::vector<Tag>{tag}, {}).ok());
  const auto begun = this->store_->Begin("k", 0, this->kLease);
  ASSERT_TRUE(begun.ok());
  EXPECT_LE(begun->key_token.ttl, this->kLease);
}

TYPED_TEST_P(StoreConformance, CountsEveryChangeOthersMustNotice) {
  const auto other = this->Open();
  Store& store = *this->store_;
  if (!TypeParam::kEmbedded) {
    EXPECT_FALSE(store.ChangeCounter().has_value());
    EXPECT_EQ(store.Tokens({})->stamp, 0u);
    return;
  }
  this->Put(store, "k", "v");
  ASSERT_TRUE(other->Tokens({}).ok());  // a store may be untrusted until its first call
  std::uint64_t last = store.ChangeCounter().value();
  const auto changed = [&](const char* what) {
    const std::uint64_t present = other->ChangeCounter().value();
    EXPECT_NE(present, 0u);
    EXPECT_NE(present, last) << what;
    EXPECT_EQ(store.Tokens({})->stamp, present) << what;
    last = present;
  };
  const auto bumped = store.Bump(std::vector<Tag>{7}, {});
  changed("bump");
  EXPECT_EQ(bumped->stamp, last);
  const auto put = store.Put("k", "w", this->kLong, PutCondition::kAlways);
  changed("put");
  EXPECT_EQ(put->stamp, last);
  ASSERT_TRUE(store.Touch("k", this->kLong).ok());
  changed("touch");
  ASSERT_TRUE(store.Delete(std::vector<std::string>{"k"}).ok());
  changed("delete");
  this->MintOne(store, 7);
  last = other->ChangeCounter().value();
  ASSERT_TRUE(store.Mark(11, this->kLease, std::vector<Tag>{7}, {}).ok());
  changed("mark");
  const SchemeRequest scheme{7, 8, "kind"};
  ASSERT_TRUE(store.Mint({}, std::span(&scheme, 1)).ok());
  changed("a table's first scheme");
  ASSERT_TRUE(store.Clear().ok());
  changed("clear");
}

TYPED_TEST_P(StoreConformance, NoReaderKeepsATokenPastAnAcknowledgedBump) {
  // Readers mint and read while a writer bumps. A token seen by a call that began after a bump was
  // acknowledged is never one from before that bump.
  constexpr int kRounds = 200;
  const auto writer = this->Open();
  std::atomic<Token> retired{kNoToken};
  std::atomic<bool> done{false};
  std::atomic<int> violations{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&, i] {
      while (!done.load()) {
        const Token gone = retired.load();
        const Token seen =
            i == 0 ? this->MintOne(*this->store_, 7) : this->TokenOf(*this->store_, 7);
        if (gone != kNoToken && seen == gone) ++violations;
      }
    });
  }
  for (int i = 0; i < kRounds; ++i) {
    const Token token = this->MintOne(*writer, 7);
    EXPECT_TRUE(writer->Bump(std::vector<Tag>{7}, {}).ok());
    retired = token;
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(violations.load(), 0);
}

TYPED_TEST_P(StoreConformance, OneOfManyFillsPerLock) {
  // Threads of several processes race for one lock; holders never overlap.
  constexpr int kThreads = 4;
  std::atomic<int> holders{0}, overlaps{0}, turns{0};
  std::vector<std::unique_ptr<Store>> stores;
  for (int i = 0; i < 2; ++i) stores.push_back(this->Open());
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      Store& store = *stores[static_cast<std::size_t>(i) % 2];
      const auto owner = 100 + static_cast<std::uint64_t>(i);
      for (int turn = 0; turn < 10;) {
        const auto begun = store.Begin("k", owner, this->kLease);
        if (!begun.ok()) break;
        if (!begun->locked) {
          if (!store.AwaitUnlock("k", this->kLease).ok()) break;
          continue;
        }
        overlaps += ++holders > 1 ? 1 : 0;
        --holders;
        this->Fill(store, "k", "v", begun->key_token.token, owner);
        ++turn;
        ++turns;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(overlaps.load(), 0);
  EXPECT_EQ(turns.load(), kThreads * 10);
}

REGISTER_TYPED_TEST_SUITE_P(
    StoreConformance, MissesWhatWasNeverStored, KeepsAnyBytesUnderAnyKey, TellsTheRemainingTime,
    ExpiresEntries, PutsByCondition, RefusedPutChangesNothing, MintsOnceAndTellsOthers,
    BumpDropsTheTokensForAll, TakesManyTagsOfOneBucketAndOfAll, ExpiresTokens,
    FillsOnlyUnderThePresentKeyToken, BeginShowsWhatSomebodyFilled,
    ExplicitStoreOvertakesAComputation, DeletesAndCounts, TouchMovesTheEnd, GetsManyInOrder,
    ClearsAllButLocks, OneOwnerHoldsTheLock, RejectedFillReleasesTheLockToo,
    LockOfADeadHolderEndsWithItsLease, WaitersAreWokenByTheFill, WaitingEndsWithItsTimeout,
    UserLocksAreApartFromEntryLocks, RegisteringASchemeDropsTheConditionBulk,
    BumpWithStaleSchemesDropsTheConditionBulk, TokensOfADeadWritersTagsEndWithItsLease,
    BumpTakesTheMarksBack, OneWriterDoesNotTakeBackAnothersMarks, RenewedMarkLastsLonger,
    TokensLiveOnWithARenewedMark, NoRenewalProlongsPastAnothersDeadline, MarksOutliveAClear,
    SchemeThatAMarkingWriterDidNotKnowEndsWithItsLease, KeyTokensAreMarkedToo,
    CountsEveryChangeOthersMustNotice, NoReaderKeepsATokenPastAnAcknowledgedBump,
    OneOfManyFillsPerLock);

}  // namespace smartcache
