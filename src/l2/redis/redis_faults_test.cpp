// The store against a server that dies, hangs, forgets its scripts, is full, or is demoted.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/random.h"
#include "l2/redis/keys.h"
#include "l2/redis/test_server.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

using redis::Ask;
using redis::AskText;
using redis::Eventually;
using redis::TestServer;
using std::chrono::milliseconds;
using Tags = std::vector<Tag>;

constexpr Duration kLong = std::chrono::minutes(5);
constexpr Duration kLease = std::chrono::seconds(5);

Options TestOptions() {
  Options options;
  options.prefix = TestServer::NewPrefix();
  options.channel = options.prefix;
  options.start_listener = false;
  options.redis_timeout = std::chrono::seconds(5);
  return options;
}

std::unique_ptr<Store> Open(const std::string& url, const Options& options = TestOptions()) {
  auto parts = OpenRedis(url, options, Clock::System());
  EXPECT_TRUE(parts.ok()) << parts.status().message();
  return std::move(parts->store);
}

std::string Read(Store& store, std::string_view key) {
  const auto reply = store.Get(key, {});
  if (!reply.ok()) return "(" + reply.status().message() + ")";
  return reply->entry ? reply->entry->envelope : "(none)";
}

bool Put(Store& store, std::string_view key, std::string_view value) {
  const auto reply = store.Put(key, value, kLong, PutCondition::kAlways);
  return reply.ok() && reply->stored;
}

Duration TimeOf(const std::function<void()>& work) {
  const Instant start = Clock::System().Now();
  work();
  return Clock::System().Now() - start;
}

TEST(RedisFaults, UnreachableServerIsNoErrorToOpenAndUnavailableToUse) {
  const auto store = Open("redis://127.0.0.1:" + std::to_string(redis::FreePort()));
  EXPECT_TRUE(store->Available());
  const auto reply = store->Get("k", {});
  EXPECT_EQ(reply.status().code(), Code::kUnavailable);
  EXPECT_NE(reply.status().message().find("127.0.0.1"), std::string::npos);
  EXPECT_FALSE(store->Available());
}

TEST(RedisFaults, UnknownHostIsGivenUpInTime) {
  Options options = TestOptions();
  options.redis_timeout = milliseconds(100);
  const auto store = Open("redis://no-such-host.invalid", options);
  EXPECT_LT(TimeOf([&] { EXPECT_FALSE(store->Get("k", {}).ok()); }), std::chrono::seconds(2));
}

TEST(RedisFaults, OldConnectionsOfARestartedServerAreReplacedUnnoticed) {
  TestServer server;
  const auto store = Open(server.url());
  ASSERT_TRUE(Put(*store, "k", "v"));
  const std::uint64_t epoch = store->Get("k", {})->epoch;
  server.Kill();
  server.Start();
  const auto reply = store->Get("k", {});
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_FALSE(reply->entry.has_value());
  EXPECT_NE(reply->epoch, epoch);
}

TEST(RedisFaults, ConnectionsThatTheServerClosesAreReplacedUnnoticed) {
  TestServer server;
  const auto store = Open(server.url());
  ASSERT_TRUE(Put(*store, "k", "v"));
  for (int i = 0; i < 20; ++i) {
    ASSERT_NE(Ask(server.endpoint(), {"CLIENT", "KILL", "TYPE", "normal"}), nullptr);
    EXPECT_EQ(Read(*store, "k"), "v") << i;
    // What must not be run twice is not tried on a connection that is closed.
    ASSERT_NE(Ask(server.endpoint(), {"CLIENT", "KILL", "TYPE", "normal"}), nullptr);
    EXPECT_TRUE(store->TryUserLock("lock" + std::to_string(i), 11, kLease).ok()) << i;
  }
}

// Far more than a call may take on a slow machine, far less than waiting without limit.
constexpr Duration kGenerous = std::chrono::seconds(10);

TEST(RedisFaults, HungServerCostsOneTimeoutAndThenNothing) {
  TestServer server;
  Options options = TestOptions();
  options.redis_timeout = milliseconds(200);
  const auto store = Open(server.url(), options);
  ASSERT_TRUE(Put(*store, "k", "v"));
  server.Pause();
  const Duration first =
      TimeOf([&] { EXPECT_EQ(store->Get("k", Tags{1, 2}).status().code(), Code::kUnavailable); });
  EXPECT_GE(first, milliseconds(180));
  EXPECT_LT(first, kGenerous);
  // Refused without asking the server, until a probe is due.
  EXPECT_TRUE(Eventually([&] {
    const auto refused = store->Bump(Tags{1}, {});
    EXPECT_EQ(refused.status().code(), Code::kUnavailable);
    return refused.status().message().starts_with("the server failed a moment ago: ") &&
           !store->Available();
  }));
  // Connecting counts towards the same time.
  ASSERT_TRUE(Eventually([&] { return store->Available(); }));
  EXPECT_LT(TimeOf([&] { EXPECT_FALSE(store->Get("k", {}).ok()); }), kGenerous);
  server.Resume();
  EXPECT_TRUE(Eventually([&] { return Read(*store, "k") == "v"; }));
  EXPECT_TRUE(store->Available());
}

TEST(RedisFaults, LargeValueToAHungServerIsGivenUpInTime) {
  TestServer server;
  Options options = TestOptions();
  options.redis_timeout = milliseconds(300);
  const auto store = Open(server.url(), options);
  ASSERT_TRUE(Put(*store, "k", "v"));
  server.Pause();
  const std::string large(64 << 20, 'x');
  EXPECT_LT(TimeOf([&] { EXPECT_FALSE(Put(*store, "k", large)); }), kGenerous);
  server.Resume();
}

TEST(RedisFaults, ForgottenScriptsAreSentAgain) {
  TestServer server;
  const auto store = Open(server.url());
  const auto flush = [&] { EXPECT_EQ(AskText(server.endpoint(), {"SCRIPT", "FLUSH"}), "OK"); };
  flush();
  const auto begun = store->Begin("k", 11, kLease);
  ASSERT_TRUE(begun.ok()) << begun.status().message();
  flush();
  EXPECT_TRUE(store->RenewLock("k", 11, kLease).value());
  flush();
  EXPECT_FALSE(store->AwaitUnlock("k", Duration(0)).value());
  flush();
  EXPECT_TRUE(store->Fill({"k", "v", kLong, begun->key_token.token, 11}).value());
  flush();
  EXPECT_TRUE(store->Mint(Tags{1, 2}, {}).ok());
  flush();
  EXPECT_TRUE(store->Bump(Tags{1}, {}).ok());
  flush();
  EXPECT_TRUE(store->Touch("k", kLong).value());
  flush();
  EXPECT_TRUE(Put(*store, "k", "w"));
  flush();
  EXPECT_EQ(store->Delete(std::vector<std::string>{"k"}).value(), 1u);
  flush();
  EXPECT_TRUE(store->Fill({"k", {}, kNever, kNoToken, 11}).ok());
  EXPECT_TRUE(store->TryUserLock("k", 11, kLease).value());
  flush();
  EXPECT_TRUE(store->UserUnlock("k", 11).value());
}

TEST(RedisFaults, FullServerStillTakesInvalidations) {
  TestServer server({"--maxmemory-policy", "noeviction"});
  const auto store = Open(server.url());
  ASSERT_TRUE(Put(*store, "old", "v"));
  ASSERT_TRUE(Put(*store, "doomed", "v"));
  ASSERT_TRUE(store->Mint(Tags{1}, {}).ok());
  const auto begun = store->Begin("k", 11, kLease);
  ASSERT_TRUE(begun.ok());
  ASSERT_EQ(AskText(server.endpoint(), {"CONFIG", "SET", "maxmemory", "1"}), "OK");

  EXPECT_EQ(store->Fill({"k", "v", kLong, begun->key_token.token, 11}).status().code(),
            Code::kUnavailable);
  EXPECT_TRUE(store->AwaitUnlock("k", Duration(0)).value()) << "the lock was not released";
  EXPECT_EQ(store->Mint(Tags{2}, {}).status().code(), Code::kUnavailable);
  EXPECT_TRUE(store->Available()) << "a full server is not a dead one";
  EXPECT_TRUE(store->Bump(Tags{1}, {}).ok());
  EXPECT_EQ(store->Tokens(Tags{1})->tokens[0].token, kNoToken);
  EXPECT_EQ(store->Delete(std::vector<std::string>{"doomed"}).value(), 1u);
  // What could not be replaced is not read on.
  EXPECT_FALSE(Put(*store, "old", "new"));
  EXPECT_EQ(Read(*store, "old"), "(none)");

  ASSERT_EQ(AskText(server.endpoint(), {"CONFIG", "SET", "maxmemory", "0"}), "OK");
  EXPECT_TRUE(Put(*store, "old", "new"));
}

TEST(RedisFaults, KeysOfOtherTypesAreMissesAndAreReplaced) {
  Options options = TestOptions();
  const auto store = Open(TestServer::SharedUrl(), options);
  const redis::Endpoint& server = TestServer::Shared();
  const redis::Keys keys(options.prefix);
  const auto spoil = [&](auto add) {
    redis::Batch batch;
    batch.Start(0, 1);
    add(batch);
    // The key is the batch's only argument: *1 CRLF $n CRLF key CRLF.
    std::string_view key = batch.bytes();
    key.remove_prefix(key.find('\n') + 1);
    key.remove_prefix(key.find('\n') + 1);
    key.remove_suffix(2);
    Ask(server, {"DEL", key});
    EXPECT_EQ(Ask(server, {"RPUSH", key, "x"})->integer, 1);
  };
  const Tag tag = KeyTag("k");
  const auto spoil_entry = [&] { spoil([&](auto& b) { keys.Entry(b, tag, "k"); }); };
  const auto spoil_token = [&] { spoil([&](auto& b) { keys.Token(b, tag); }); };
  spoil_entry();
  spoil_token();
  EXPECT_EQ(Read(*store, "k"), "(none)");
  EXPECT_FALSE(store->GetMany(std::vector<std::string>{"k"})->at(0).entry.has_value());
  EXPECT_EQ(store->Tokens(Tags{tag})->tokens[0].token, kNoToken);
  const auto begun = store->Begin("k", 0, kLease);
  ASSERT_TRUE(begun.ok()) << begun.status().message();
  EXPECT_FALSE(begun->entry.has_value());
  EXPECT_TRUE(store->Fill({"k", "v", kLong, begun->key_token.token, 0}).value());
  EXPECT_EQ(Read(*store, "k"), "v");
  spoil_token();
  EXPECT_FALSE(store->Fill({"k", "w", kLong, begun->key_token.token, 0}).value());
  EXPECT_NE(store->Mint(Tags{tag}, {})->tokens[0].token, kNoToken);
  spoil_entry();
  EXPECT_TRUE(Put(*store, "k", "w"));
  spoil([&](auto& b) { keys.SchemeSet(b, 7); });
  const SchemeKnowledge nothing{7, 8, 0};
  EXPECT_EQ(store->Bump({}, std::span(&nothing, 1))->schemes.at(0).version, 0u);
  spoil([&](auto& b) { keys.SchemeSet(b, 7); });
  const SchemeRequest kind{7, 8, "v"};
  ASSERT_TRUE(store->Mint({}, std::span(&kind, 1)).ok());
  EXPECT_EQ(store->Bump({}, std::span(&nothing, 1))->schemes.at(0).columns,
            std::vector<std::string>{"v"});
}

TEST(RedisFaults, TokensThatAreNoNumbersAreReplaced) {
  Options options = TestOptions();
  const auto store = Open(TestServer::SharedUrl(), options);
  const std::string key = options.prefix + ":{b00}:t:0000000000000007";
  ASSERT_EQ(AskText(TestServer::Shared(), {"SET", key, "abc"}), "OK");
  EXPECT_EQ(store->Tokens(Tags{7})->tokens[0].token, kNoToken);
  const Token token = store->Mint(Tags{7}, {})->tokens[0].token;
  EXPECT_NE(token, kNoToken);
  EXPECT_EQ(store->Tokens(Tags{7})->tokens[0].token, token);
}

TEST(RedisFaults, KeepsHugeValuesAndManyTags) {
  Options options = TestOptions();
  options.max_payload_bytes = 20 << 20;
  const auto store = Open(TestServer::SharedUrl(), options);
  std::string huge(20 << 20, '\0');
  for (std::size_t i = 0; i < huge.size(); i += 4096) huge[i] = static_cast<char>(i >> 12);
  ASSERT_TRUE(Put(*store, "huge", huge));
  EXPECT_TRUE(Read(*store, "huge") == huge);
  Tags tags;
  for (Tag i = 1; i <= 10'000; ++i) tags.push_back(i << 40 | i);
  const auto minted = store->Mint(tags, {});
  ASSERT_TRUE(minted.ok()) << minted.status().message();
  ASSERT_TRUE(store->Bump(tags, {}).ok());
  const auto left = store->Tokens(tags);
  ASSERT_TRUE(left.ok());
  for (const TokenReply& reply : left->tokens) EXPECT_EQ(reply.token, kNoToken);
  std::vector<std::string> keys;
  for (int i = 0; i < 5'000; ++i) keys.push_back("k" + std::to_string(i));
  ASSERT_TRUE(Put(*store, keys[4'999], "v"));
  EXPECT_EQ(store->GetMany(keys)->at(4'999).entry->envelope, "v");
  EXPECT_EQ(store->Delete(keys).value(), 1u);
  EXPECT_TRUE(store->Clear().ok());
}

TEST(RedisFaults, DemotedServerIsNotAskedAnyMore) {
  TestServer server, other;
  Options options = TestOptions();
  options.trust_bound = milliseconds(80);  // checks each connection four times in it
  const auto store = Open(server.url(), options);
  ASSERT_TRUE(Put(*store, "k", "v"));
  ASSERT_EQ(AskText(server.endpoint(), {"CONFIG", "SET", "replica-read-only", "yes"}), "OK");
  const std::string port = std::to_string(other.port());
  redis::ReplyPtr demoted = Ask(server.endpoint(), {"REPLICAOF", "127.0.0.1", port});
  ASSERT_NE(demoted, nullptr);
  // Reads alone would not notice: a replica answers them.
  EXPECT_TRUE(Eventually([&] { return !store->Get("k", {}).ok(); }));
  EXPECT_TRUE(Eventually([&] {
    const auto refused = store->Get("k", {});
    return refused.status().message().find("replica") != std::string::npos;
  }));
}

TEST(RedisFaults, PromotedAgainIsAnotherEpoch) {
  TestServer server, other;
  Options options = TestOptions();
  options.trust_bound = milliseconds(80);
  const auto store = Open(server.url(), options);
  const std::uint64_t epoch = store->Tokens({})->epoch;
  // Clients' connections live through both.
  const auto replies = redis::AskAll(
      server.endpoint(),
      {{"REPLICAOF", "127.0.0.1", std::to_string(other.port())}, {"REPLICAOF", "NO", "ONE"}});
  ASSERT_EQ(replies.size(), 2u);
  EXPECT_TRUE(Eventually([&] {
    const auto reply = store->Tokens({});
    return reply.ok() && reply->epoch != epoch;
  }));
}

TEST(RedisFaults, LogsInWithPasswordAndUserAndNeverTellsThem) {
  TestServer server({"--user", "default", "on", "nopass", "~*", "&*", "+@all", "--user", "app",
                     "on", ">se:cret", "~*", "&*", "+@all"});
  const std::string host = "127.0.0.1:" + std::to_string(server.port());
  const auto good = Open("redis://app:se%3Acret@" + host + "/2");
  EXPECT_TRUE(Put(*good, "k", "v"));
  EXPECT_EQ(good->Describe(), "redis://" + host + "/2");
  const auto bad = Open("redis://app:wrongsecret@" + host);
  const auto refused = bad->Get("k", {});
  EXPECT_EQ(refused.status().code(), Code::kUnavailable);
  EXPECT_NE(refused.status().message().find("WRONGPASS"), std::string::npos);
  EXPECT_EQ(refused.status().message().find("secret"), std::string::npos);
}

TEST(RedisFaults, KeepsPrefixesAndDatabasesApart) {
  TestServer server;
  Options options = TestOptions(), longer = options;
  longer.prefix = options.prefix + "x";
  const auto one = Open(server.url(), options), other = Open(server.url(), longer);
  const auto database =
      Open("unix://" + server.socket_path() + "?db=1", options);  // and by the other kind of socket
  for (Store* store : {one.get(), other.get(), database.get()}) {
    EXPECT_EQ(Read(*store, "k"), "(none)");
    ASSERT_TRUE(Put(*store, "k", "v"));
  }
  ASSERT_EQ(AskText(server.endpoint(), {"SET", options.prefix + ":{b00}:x:k", "foreign"}), "OK");
  ASSERT_TRUE(one->Clear().ok());
  EXPECT_EQ(Read(*one, "k"), "(none)");
  EXPECT_EQ(Read(*other, "k"), "v");
  EXPECT_EQ(Read(*database, "k"), "v");
  EXPECT_EQ(AskText(server.endpoint(), {"GET", options.prefix + ":{b00}:x:k"}), "foreign");
}

TEST(RedisFaults, NothingFromBeforeAClearCanBeReadAfterIt) {
  Options options = TestOptions();
  const auto store = Open(TestServer::SharedUrl(), options);
  constexpr int kKeys = 300;
  const auto name = [](int i) { return "key" + std::to_string(i); };
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < kKeys; i += 2) ASSERT_TRUE(Put(*store, name(i), "plain"));
    std::vector<Token> begun(kKeys);
    for (int i = 1; i < kKeys; i += 2) {
      begun[static_cast<std::size_t>(i)] = store->Begin(name(i), 0, kLease)->key_token.token;
    }
    // Computations that began before fill while the keys are dropped.
    std::thread filler([&] {
      const auto own = Open(TestServer::SharedUrl(), options);
      for (int i = 1; i < kKeys; i += 2) {
        const Token token = begun[static_cast<std::size_t>(i)];
        EXPECT_TRUE(own->Fill({name(i), "computed", kLong, token, 0}).ok());
      }
    });
    EXPECT_TRUE(store->Clear().ok());
    filler.join();
    for (int i = 0; i < kKeys; ++i) {
      const auto reply = store->Get(name(i), Tags{KeyTag(name(i))});
      ASSERT_TRUE(reply.ok());
      if (i % 2 == 0) {
        EXPECT_FALSE(reply->entry.has_value());
      } else if (reply->entry) {
        // Its vector holds a token that is gone.
        EXPECT_NE(reply->tokens[0].token, begun[static_cast<std::size_t>(i)]);
      }
    }
  }
}

}  // namespace
}  // namespace smartcache
