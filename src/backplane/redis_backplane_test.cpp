// The backplane on real servers, with the store's scripts as the publishers.
#include "backplane/redis_backplane.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "l2/redis/test_server.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

using redis::Ask;
using redis::Eventually;
using redis::TestServer;
using std::chrono::milliseconds;
using Tags = std::vector<Tag>;

constexpr Duration kLong = std::chrono::minutes(5);
constexpr Duration kLease = std::chrono::seconds(5);
constexpr Duration kFenceLimit = std::chrono::seconds(10);

class RecordingSink final : public BackplaneSink {
 public:
  struct Seen {
    std::vector<std::uint64_t> epochs;
    Tags tags;
    int clears = 0, losses = 0, fences = 0;
    Instant last_fence{};
  };
  void OnConnected(std::uint64_t epoch) override {
    MutexLock lock(mutex_);
    seen_.epochs.push_back(epoch);
  }
  void OnFence(Instant sent) override {
    MutexLock lock(mutex_);
    EXPECT_GE(sent, seen_.last_fence);
    seen_.last_fence = sent;
    ++seen_.fences;
  }
  void OnBump(std::span<const Tag> tags) override {
    MutexLock lock(mutex_);
    seen_.tags.insert(seen_.tags.end(), tags.begin(), tags.end());
  }
  void OnClear() override {
    MutexLock lock(mutex_);
    ++seen_.clears;
  }
  void OnDisconnected() override {
    MutexLock lock(mutex_);
    ++seen_.losses;
  }
  Seen seen() {
    MutexLock lock(mutex_);
    return seen_;
  }

 private:
  Mutex mutex_;
  Seen seen_ GUARDED_BY(mutex_);
};

Options TestOptions() {
  Options options;
  options.prefix = TestServer::NewPrefix();
  options.channel = options.prefix;
  options.redis_timeout = std::chrono::seconds(5);
  options.trust_bound = std::chrono::seconds(20);
  return options;
}

// One process: a store, and a backplane that reports to a recording sink.
struct Process {
  Process(const std::string& url, const Options& options) {
    auto opened = OpenRedis(url, options, Clock::System());
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    parts = *std::move(opened);
    Start();
  }
  ~Process() { parts.backplane->Stop(); }
  void Start() {
    ASSERT_TRUE(parts.backplane->Start(sink));
    EXPECT_TRUE(Eventually([&] { return !sink.seen().epochs.empty(); })) << "not connected";
  }
  Store& store() { return *parts.store; }
  bool Fence() { return parts.backplane->Fence(kFenceLimit).ok(); }

  RecordingSink sink;
  RedisParts parts;
};

TEST(RedisBackplane, TellsOthersOfBumpsAndNotItself) {
  const Options options = TestOptions();
  Process one(TestServer::SharedUrl(), options), two(TestServer::SharedUrl(), options);
  ASSERT_TRUE(one.store().Bump(Tags{7, ~Tag{0}}, {}).ok());
  ASSERT_TRUE(one.store().Put("k", "v", kLong, PutCondition::kAlways).ok());
  ASSERT_TRUE(one.store().Touch("k", kLong).ok());
  ASSERT_TRUE(one.store().Delete(std::vector<std::string>{"k", "l"}).ok());
  ASSERT_TRUE(one.Fence());
  ASSERT_TRUE(two.Fence());
  const Tag k = KeyTag("k"), l = KeyTag("l");
  EXPECT_EQ(two.sink.seen().tags, (Tags{7, ~Tag{0}, k, k, k, l}));
  EXPECT_EQ(one.sink.seen().tags, Tags{});
}

TEST(RedisBackplane, TellsOfDroppedConditionBulks) {
  const Options options = TestOptions();
  Process one(TestServer::SharedUrl(), options), two(TestServer::SharedUrl(), options);
  const SchemeRequest kind{7, 8, "kind"};
  ASSERT_TRUE(one.store().Mint(Tags{8}, std::span(&kind, 1)).ok());
  ASSERT_TRUE(one.Fence());
  ASSERT_TRUE(two.Fence());
  // Nothing in the reply says so, hence the message is for the sender, too.
  EXPECT_EQ(one.sink.seen().tags, Tags{8});
  EXPECT_EQ(two.sink.seen().tags, Tags{8});
  const SchemeKnowledge nothing{7, 8, 0};
  ASSERT_TRUE(one.store().Bump(Tags{7}, std::span(&nothing, 1)).ok());
  ASSERT_TRUE(two.Fence());
  EXPECT_EQ(two.sink.seen().tags, (Tags{8, 7, 8}));
}

TEST(RedisBackplane, TellsOfClearsOfTheSameKeySpaceOnly) {
  Options options = TestOptions(), other = options;
  other.prefix += 'x';
  Process one(TestServer::SharedUrl(), options), two(TestServer::SharedUrl(), options),
      stranger(TestServer::SharedUrl(), other);
  ASSERT_TRUE(one.store().Clear().ok());
  for (Process* process : {&one, &two, &stranger}) ASSERT_TRUE(process->Fence());
  EXPECT_EQ(one.sink.seen().clears, 1);
  EXPECT_EQ(two.sink.seen().clears, 1);
  EXPECT_EQ(stranger.sink.seen().clears, 0);
}

TEST(RedisBackplane, TrustsNothingAfterAMessageItDoesNotUnderstand) {
  const Options options = TestOptions();
  Process one(TestServer::SharedUrl(), options);
  ASSERT_EQ(
      Ask(TestServer::Shared(), {"PUBLISH", options.channel, "\x02 of another version"})->integer,
      1);
  ASSERT_TRUE(one.Fence());
  EXPECT_EQ(one.sink.seen().clears, 1);
}

TEST(RedisBackplane, AnsweredFenceProvesThatAllBeforeItHasArrivedInOrder) {
  constexpr Tag kBumps = 20'000;
  const Options options = TestOptions();
  Process writer(TestServer::SharedUrl(), options), reader(TestServer::SharedUrl(), options);
  std::atomic<Tag> acknowledged{0};
  std::thread thread([&] {
    for (Tag tag = 1; tag <= kBumps; ++tag) {
      if (!writer.store().Bump(Tags{tag}, {}).ok()) break;
      acknowledged.store(tag);
    }
    acknowledged.store(kBumps);
  });
  int fences = 0;
  while (acknowledged.load() < kBumps) {
    const Tag before = acknowledged.load();
    ASSERT_TRUE(reader.Fence());
    const Tags tags = reader.sink.seen().tags;
    ASSERT_GE(tags.size(), before);
    ++fences;
  }
  thread.join();
  ASSERT_TRUE(reader.Fence());
  const Tags tags = reader.sink.seen().tags;
  ASSERT_EQ(tags.size(), kBumps);
  for (Tag i = 0; i < kBumps; ++i) ASSERT_EQ(tags[i], i + 1);
  EXPECT_GT(fences, 10);
}

TEST(RedisBackplane, BeatsByItself) {
  Options options = TestOptions();
  options.trust_bound = milliseconds(40);
  Process one(TestServer::SharedUrl(), options);
  EXPECT_TRUE(Eventually([&] { return one.sink.seen().fences >= 5; }));
}

TEST(RedisBackplane, FencesAreSharedByThoseWhoWait) {
  Process one(TestServer::SharedUrl(), TestOptions());
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) EXPECT_TRUE(one.Fence());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(one.sink.seen().fences, 8 * 50 + 2);
}

TEST(RedisBackplane, KilledServerIsALossAndItsSuccessorAnotherEpoch) {
  TestServer server;
  Process one(server.url(), TestOptions());
  server.Kill();
  ASSERT_TRUE(Eventually([&] { return one.sink.seen().losses == 1; }));
  EXPECT_FALSE(one.parts.backplane->Fence(kFenceLimit).ok());
  server.Start();
  ASSERT_TRUE(Eventually([&] { return one.sink.seen().epochs.size() == 2; }));
  const auto epochs = one.sink.seen().epochs;
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_TRUE(Eventually([&] { return one.Fence(); }));
  // What is read is of the state that is listened to.
  ASSERT_TRUE(Eventually([&] { return one.store().Tokens({}).ok(); }));
  EXPECT_EQ(one.store().Tokens({})->epoch, epochs[1]);
}

TEST(RedisBackplane, KilledConnectionIsALossWithinTheSameEpoch) {
  TestServer server;
  Process one(server.url(), TestOptions());
  ASSERT_EQ(Ask(server.endpoint(), {"CLIENT", "KILL", "TYPE", "pubsub"})->integer, 1);
  ASSERT_TRUE(Eventually([&] { return one.sink.seen().epochs.size() == 2; }));
  const auto seen = one.sink.seen();
  EXPECT_EQ(seen.losses, 1);
  EXPECT_EQ(seen.epochs[0], seen.epochs[1]);
}

TEST(RedisBackplane, SilentServerIsALossAfterTheBound) {
  TestServer server;
  Options options = TestOptions();
  options.trust_bound = milliseconds(300);
  options.redis_timeout = milliseconds(200);
  Process one(server.url(), options);
  const Instant start = Clock::System().Now();
  server.Pause();
  EXPECT_FALSE(one.parts.backplane->Fence(milliseconds(50)).ok());
  ASSERT_TRUE(Eventually([&] { return one.sink.seen().losses == 1; }));
  EXPECT_GE(Clock::System().Now() - start, milliseconds(200));
  server.Resume();
  EXPECT_TRUE(Eventually([&] { return one.sink.seen().epochs.size() == 2; }));
}

TEST(RedisBackplane, DemotedServerIsALoss) {
  TestServer server, other;
  Options options = TestOptions();
  options.trust_bound = milliseconds(200);
  Process one(server.url(), options);
  ASSERT_NE(Ask(server.endpoint(), {"REPLICAOF", "127.0.0.1", std::to_string(other.port())}),
            nullptr);
  EXPECT_TRUE(Eventually([&] { return one.sink.seen().losses == 1; }));
}

TEST(RedisBackplane, ServerThatCannotReachItsReplicasIsALoss) {
  TestServer server;
  Options options = TestOptions();
  options.trust_bound = milliseconds(200);
  Process one(server.url(), options);
  ASSERT_NE(Ask(server.endpoint(), {"CONFIG", "SET", "min-replicas-to-write", "1"}), nullptr);
  EXPECT_TRUE(Eventually([&] { return one.sink.seen().losses == 1; }));
}

// The lock's key and a thread that waits for it, once it has said so in the lock.
struct LockWaiter {
  LockWaiter(Store& store, const redis::Endpoint& server, const std::string& prefix) {
    const redis::ReplyPtr keys = Ask(server, {"KEYS", prefix + ":*:l:k"});
    EXPECT_EQ(keys->elements, 1u);
    lock = redis::Text(*keys->element[0]);
    thread = std::thread([&store, this] {
      const Instant start = Clock::System().Now();
      const auto unlocked = store.AwaitUnlock("k", kLongestWait);
      // A look at the end of the time would find the lock free as well.
      woken = unlocked.ok() && *unlocked && Clock::System().Now() - start < kLongestWait;
    });
    EXPECT_TRUE(Eventually([&] { return redis::AskText(server, {"GET", lock}) == "11w"; }));
  }
  ~LockWaiter() {
    if (thread.joinable()) thread.join();
  }
  static constexpr Duration kLongestWait = std::chrono::seconds(20);
  std::string lock;
  std::thread thread;
  std::atomic<bool> woken{false};
};

TEST(RedisBackplane, ReleasedLockWakesItsWaiterByMessage) {
  const Options options = TestOptions();
  Process one(TestServer::SharedUrl(), options), two(TestServer::SharedUrl(), options);
  for (const std::string_view envelope : {"v", ""}) {
    // Nothing but the message can end the waiting: the lease is too long.
    const auto begun = one.store().Begin("k", 11, std::chrono::hours(1));
    ASSERT_TRUE(begun.ok() && begun->locked);
    LockWaiter waiter(two.store(), TestServer::Shared(), options.prefix);
    EXPECT_TRUE(one.store().RenewLock("k", 11, std::chrono::hours(1)).value());
    EXPECT_TRUE(one.store().Begin("k", 11, kLease)->locked) << "not its owner's any more";
    ASSERT_TRUE(one.store().Fill({"k", envelope, kLong, begun->key_token.token, 11}).ok());
    waiter.thread.join();
    EXPECT_TRUE(waiter.woken.load());
  }
  EXPECT_TRUE(two.Fence());
  EXPECT_EQ(two.sink.seen().tags, Tags{}) << "a lock's release is not a bump";
}

TEST(RedisBackplane, WaiterWhoseListenerIsLostLooksByItself) {
  TestServer server;
  const Options options = TestOptions();
  Process one(server.url(), options);
  ASSERT_TRUE(one.store().Begin("k", 11, std::chrono::hours(1))->locked);
  LockWaiter waiter(one.store(), server.endpoint(), options.prefix);
  // At one stroke, so that nobody hears of the release.
  const auto replies = redis::AskAll(
      server.endpoint(),
      {{"MULTI"}, {"DEL", waiter.lock}, {"CLIENT", "KILL", "TYPE", "pubsub"}, {"EXEC"}});
  ASSERT_EQ(replies.size(), 4u);
  ASSERT_EQ(replies[3]->elements, 2u);
  waiter.thread.join();
  EXPECT_TRUE(waiter.woken.load());
  EXPECT_EQ(one.sink.seen().losses, 1);
}

TEST(RedisBackplane, DeadHoldersWaiterWakesWithTheLease) {
  Process one(TestServer::SharedUrl(), TestOptions());
  ASSERT_TRUE(one.store().Begin("k", 11, milliseconds(100))->locked);
  const Instant start = Clock::System().Now();
  EXPECT_TRUE(one.store().AwaitUnlock("k", kLong).value());
  EXPECT_LT(Clock::System().Now() - start, std::chrono::seconds(5));
}

TEST(RedisBackplane, StopsAtOnceAndStartsAgain) {
  Process one(TestServer::SharedUrl(), TestOptions());
  const Instant start = Clock::System().Now();
  one.parts.backplane->Stop();
  EXPECT_LT(Clock::System().Now() - start, std::chrono::seconds(2));
  EXPECT_FALSE(one.Fence());
  one.parts.backplane->Stop();
  ASSERT_TRUE(one.parts.backplane->Start(one.sink));
  EXPECT_TRUE(Eventually([&] { return one.sink.seen().epochs.size() == 2; }));
}

std::ptrdiff_t CountSockets() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::count_if(begin(all), end(all), [](const auto& file) {
    std::error_code gone;
    return std::filesystem::read_symlink(file, gone).string().starts_with("socket:");
  });
}

TEST(RedisBackplane, ForkedChildHasSocketsOfItsOwn) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the thread sanitizer supports no threads after a fork";
#endif
  const Options options = TestOptions();
  Process one(TestServer::SharedUrl(), options), parent(TestServer::SharedUrl(), options);
  ASSERT_TRUE(parent.store().Put("k", "v", kLong, PutCondition::kAlways).ok());
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto inherited = CountSockets();
    parent.parts.store->AfterFork();
    parent.parts.backplane->AfterFork();
    bool good = CountSockets() <= inherited - 2;
    RecordingSink sink;
    good = good && parent.parts.backplane->Start(sink);
    good = good && Eventually([&] { return !sink.seen().epochs.empty(); });
    const auto read = parent.store().Get("k", {});
    good = good && read.ok() && read->entry && read->entry->envelope == "v";
    good = good && parent.store().Bump(Tags{4711}, {}).ok() && parent.Fence();
    // The parent is another process to the child: its bumps are heard.
    good = good && write(pipes[1], "x", 1) == 1;
    good = good && Eventually([&] { return sink.seen().tags == Tags{4712}; });
    parent.parts.backplane->Stop();
    _exit(good ? 0 : 1);
  }
  close(pipes[1]);  // a child that ends early ends the reading, too
  char byte;
  EXPECT_EQ(read(pipes[0], &byte, 1), 1);
  ASSERT_TRUE(parent.store().Bump(Tags{4712}, {}).ok());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  // The parent's connections have not been touched: no loss, and the same answers.
  ASSERT_TRUE(parent.Fence());
  EXPECT_EQ(parent.sink.seen().losses, 0);
  EXPECT_EQ(parent.sink.seen().tags, Tags{4711});
  EXPECT_TRUE(parent.store().Get("k", {})->entry.has_value());
  ASSERT_TRUE(one.Fence());
  EXPECT_EQ(one.sink.seen().tags, (Tags{KeyTag("k"), 4711, 4712}));
  close(pipes[0]);
}

TEST(RedisBackplane, ConnectsLaterToAServerThatIsDownAtFirst) {
  TestServer server;
  server.Kill();
  auto parts = OpenRedis(server.url(), TestOptions(), Clock::System());
  ASSERT_TRUE(parts.ok());
  RecordingSink sink;
  ASSERT_TRUE(parts->backplane->Start(sink));
  EXPECT_FALSE(parts->backplane->Fence(kFenceLimit).ok());
  server.Start();
  EXPECT_TRUE(Eventually([&] { return sink.seen().epochs.size() == 1; }));
  EXPECT_EQ(sink.seen().losses, 0);
  parts->backplane->Stop();
}

}  // namespace
}  // namespace smartcache
