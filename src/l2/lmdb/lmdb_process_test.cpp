// Several real processes on one folder. A child is this program again, by fork and exec, with its
// part and the folder in the environment, and a socket on which both sides say and hear lines.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fork_test.h"
#include "base/random.h"
#include "l2/lmdb/generation.h"
#include "l2/lmdb/test_folder.h"

namespace smartcache::lmdb {
namespace {

constexpr Duration kLong = std::chrono::minutes(5);
constexpr int kSocket = 3;  // of a child

void Say(int socket, const std::string& line) {
  const std::string bytes = line + "\n";
  if (write(socket, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) _exit(3);
}

// "" at the end of the other side.
std::string Hear(int socket) {
  std::string line;
  char c = 0;
  while (read(socket, &c, 1) == 1 && c != '\n') line.push_back(c);
  return c == '\n' ? line : "";
}

class Child {
 public:
  Child(const std::string& part, const std::string& folder) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      if (pair[1] == kSocket) {
        fcntl(kSocket, F_SETFD, 0);
      } else {
        dup2(pair[1], kSocket);
      }
      setenv("SMARTCACHE_TEST_PART", part.c_str(), 1);
      setenv("SMARTCACHE_TEST_FOLDER", folder.c_str(), 1);
      execl("/proc/self/exe", "child", "--gtest_filter=LmdbChild.DISABLED_PlaysItsPart",
            "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
      _exit(4);
    }
    close(pair[1]);
    socket_ = pair[0];
  }
  ~Child() {
    if (pid_ > 0) Kill();
    close(socket_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Tell(const std::string& line) const { Say(socket_, line); }
  [[nodiscard]] std::string Hear() const { return lmdb::Hear(socket_); }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void Stop() const {
    kill(pid_, SIGSTOP);
    int status = 0;
    waitpid(pid_, &status, WUNTRACED);
    EXPECT_TRUE(WIFSTOPPED(status));
  }
  void Continue() const { kill(pid_, SIGCONT); }

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

Options OptionsIn(const std::string& path) {
  Options options;
  options.directory = path;
  options.prefix = "test";
  options.embedded_max_bytes = 16u << 20;
  options.redis_timeout = std::chrono::seconds(10);  // a loaded machine is no stopped writer
  return options;
}

Token MintIn(Store& store, Tag tag) {
  const auto reply = store.Mint(std::vector<Tag>{tag}, {});
  return reply.ok() ? reply->tokens.at(0).token : kNoToken;
}
Token TokenIn(Store& store, Tag tag) {
  const auto reply = store.Tokens(std::vector<Tag>{tag});
  EXPECT_TRUE(reply.ok()) << reply.status().message();
  return reply.ok() ? reply->tokens.at(0).token : kNoToken;
}

// An envelope that shows whether it is whole, and whose.
std::string Whole(int key, std::uint64_t random) {
  std::string bytes = std::to_string(key) + ":" + std::to_string(random) + ":";
  bytes.resize(bytes.size() + random % 20'000, static_cast<char>('a' + random % 26));
  return bytes;
}
bool IsWhole(int key, const std::string& bytes) {
  const std::size_t colon = bytes.find(':');
  return colon != std::string::npos && std::to_string(key) == bytes.substr(0, colon) &&
         bytes == Whole(key, std::stoull(bytes.substr(colon + 1)));
}

// Parts of children -------------------------------------------------------------------------------

// Bumps the tag it is told, and answers.
void PlayBumper(Store& store) {
  for (std::string line = Hear(kSocket); !line.empty(); line = Hear(kSocket)) {
    const std::vector<Tag> tags{std::stoull(line)};
    Say(kSocket, store.Bump(tags, {}).ok() ? "bumped" : "failed");
  }
}

// Takes the lock of "k", and fills it when told.
void PlayLeader(Store& store) {
  const auto begun = store.Begin("k", 11, kLong);
  Say(kSocket, begun.ok() && begun->locked ? "locked" : "failed");
  Hear(kSocket);
  (void)store.Fill({"k", "computed", kLong, begun->key_token.token, 11});
  Say(kSocket, "filled");
}

// Is in the midst of a change for ever.
void PlayHolder(Store&, const Options& options) {
  const auto generation =
      Generation::Acquire({options.directory, options.prefix, options.embedded_max_bytes, kLong});
  Control& control = *generation.value()->control();
  if (control.tokens_gate().Lock(kLong) != Gate::Entry::kEntered) _exit(5);
  control.BeginChange();
  Say(kSocket, "holding");
  Hear(kSocket);
  _exit(0);  // as killed, with the gate in its hands
}

// Changes everything in a loop, telling of each bump once it is acknowledged, until killed.
void PlayWriter(Store& store) {
  std::mt19937_64 random(RandomU64());
  for (int i = 0;; ++i) {
    const Tag tag = 1 + random() % 4;
    const Token token = MintIn(store, tag);
    const int key = static_cast<int>(random() % 50);
    const std::string name = std::to_string(key);
    const std::string envelope = Whole(key, random() >> 1);
    if (i % 3 == 0) {
      (void)store.Put(name, envelope, kLong, PutCondition::kAlways);
    } else if (i % 3 == 1) {
      const auto begun = store.Begin(name, 11, std::chrono::milliseconds(1));
      if (begun.ok()) (void)store.Fill({name, envelope, kLong, begun->key_token.token, 11});
    } else if (i % 50 == 2) {
      (void)store.Clear();
    } else {
      (void)store.Delete(std::vector<std::string>{name});
    }
    if (token != kNoToken && store.Bump(std::vector<Tag>{tag}, {}).ok()) {
      Say(kSocket, std::to_string(tag) + " " + std::to_string(token));
    }
  }
}

TEST(LmdbChild, DISABLED_PlaysItsPart) {
  const char* const part = std::getenv("SMARTCACHE_TEST_PART");
  if (part == nullptr) GTEST_SKIP() << "only as a child of the other tests";
  const Options options = OptionsIn(std::getenv("SMARTCACHE_TEST_FOLDER"));
  const auto store = OpenLmdbStore(options);
  if (part == std::string("bumper")) PlayBumper(*store);
  if (part == std::string("leader")) PlayLeader(*store);
  if (part == std::string("holder")) PlayHolder(*store, options);
  if (part == std::string("writer")) PlayWriter(*store);
}

// The tests ---------------------------------------------------------------------------------------

class LmdbProcessTest : public testing::Test {
 protected:
  TestFolder folder_;
  std::unique_ptr<Store> store_ = OpenLmdbStore(OptionsIn(folder_.path));
};

TEST_F(LmdbProcessTest, SeesAnothersBumpAtOnce) {
  const Child bumper("bumper", folder_.path);
  for (Tag tag = 1; tag <= 100; ++tag) {
    const Token token = MintIn(*store_, tag);
    const std::uint64_t before = store_->ChangeCounter().value();
    EXPECT_NE(before, 0u);
    bumper.Tell(std::to_string(tag));
    ASSERT_EQ(bumper.Hear(), "bumped");
    EXPECT_NE(store_->ChangeCounter().value(), before);
    EXPECT_NE(store_->ChangeCounter().value(), 0u);
    EXPECT_EQ(TokenIn(*store_, tag), kNoToken) << token;
  }
}

TEST_F(LmdbProcessTest, WaitersAreWokenByAnotherProcess) {
  Child leader("leader", folder_.path);
  ASSERT_EQ(leader.Hear(), "locked");
  EXPECT_FALSE(store_->Begin("k", 12, kLong)->locked);
  std::thread waiter([&] {
    const auto unlocked = store_->AwaitUnlock("k", kLong);
    EXPECT_TRUE(unlocked.ok() && *unlocked);
    EXPECT_EQ(store_->Get("k", {})->entry->envelope, "computed");
  });
  leader.Tell("go on");
  EXPECT_EQ(leader.Hear(), "filled");
  waiter.join();
}

TEST_F(LmdbProcessTest, StoppedWriterIsWaitedForWithALimit) {
  constexpr Duration kTimeout = std::chrono::milliseconds(50);
  Options options = OptionsIn(folder_.path);
  options.redis_timeout = kTimeout;
  store_ = OpenLmdbStore(options);
  Child holder("holder", folder_.path);
  ASSERT_EQ(holder.Hear(), "holding");
  holder.Stop();
  ASSERT_TRUE(store_->Tokens({}).ok());    // reads go on
  EXPECT_EQ(store_->ChangeCounter(), 0u);  // but nothing is trusted amid a change
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(store_->Bump(std::vector<Tag>{7}, {}).status().code(), Code::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_FALSE(store_->Available());
  // While it is known, nobody waits; many calls take less than one wait each.
  const auto again = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(store_->Bump(std::vector<Tag>{7}, {}).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - again, 10 * kTimeout);
  holder.Kill();
  EXPECT_TRUE(store_->Bump(std::vector<Tag>{7}, {}).ok());
  EXPECT_TRUE(store_->Available());
  EXPECT_NE(store_->ChangeCounter(), 0u);
}

TEST_F(LmdbProcessTest, WriterThatGoesOnIsWaitedFor) {
  Child holder("holder", folder_.path);
  ASSERT_EQ(holder.Hear(), "holding");
  std::thread waiter([&] { EXPECT_TRUE(store_->Bump(std::vector<Tag>{7}, {}).ok()); });
  holder.Stop();
  holder.Continue();
  holder.Tell("end");
  waiter.join();
  EXPECT_EQ(holder.Hear(), "");
  EXPECT_TRUE(store_->Bump(std::vector<Tag>{7}, {}).ok());
}

TEST_F(LmdbProcessTest, KilledWriterLeavesNothingTornAndNoBumpUndone) {
  constexpr int kKills = 120;
  std::mt19937_64 random(4711);
  std::map<Tag, std::set<Token>> bumped;
  int entries = 0;
  for (int i = 0; i < kKills; ++i) {
    Child writer("writer", folder_.path);
    const auto note = [&](const std::string& line) {
      const std::size_t space = line.find(' ');
      bumped[std::stoull(line.substr(0, space))].insert(std::stoull(line.substr(space + 1)));
    };
    for (std::uint64_t left = 1 + random() % 40; left > 0; --left) note(writer.Hear());
    for (std::uint64_t spin = random() % 200'000; spin > 0; --spin) asm volatile("");
    writer.Kill();
    for (std::string line = writer.Hear(); !line.empty(); line = writer.Hear()) note(line);
    for (const auto& [tag, tokens] : bumped) {
      EXPECT_FALSE(tokens.contains(TokenIn(*store_, tag))) << "tag " << tag;
    }
    for (int key = 0; key < 50; ++key) {
      const auto reply = store_->Get(std::to_string(key), {});
      ASSERT_TRUE(reply.ok()) << reply.status().message();
      if (!reply->entry) continue;
      ++entries;
      EXPECT_TRUE(IsWhole(key, reply->entry->envelope)) << key;
    }
    ASSERT_TRUE(store_->Bump(std::vector<Tag>{1}, {}).ok());  // and writing goes on
    EXPECT_NE(store_->ChangeCounter(), 0u);
  }
  EXPECT_GT(entries, 0);
}

// What a forked child, which goes on without exec, came to.
int Forked(const std::function<bool()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body() ? 0 : 1);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

TEST_F(LmdbProcessTest, ForkedChildOpensItsOwn) {
  ASSERT_TRUE(store_->Put("k", "parent's", kLong, PutCondition::kAlways)->stored);
  const Token token = MintIn(*store_, 7);
  const auto child = [&] {
    store_->AfterFork();
    const bool untrusted = store_->ChangeCounter() == 0u;
    const auto read = store_->Get("k", {});
    return untrusted && read.ok() && read->entry && read->entry->envelope == "parent's" &&
           TokenIn(*store_, 7) == token && store_->Bump(std::vector<Tag>{7}, {}).ok() &&
           store_->Put("k", "child's", kLong, PutCondition::kAlways).ok() &&
           store_->ChangeCounter() != 0u;
  };
  EXPECT_EQ(Forked(child), 0);
  EXPECT_EQ(TokenIn(*store_, 7), kNoToken);
  EXPECT_EQ(store_->Get("k", {})->entry->envelope, "child's");
  // A grandchild, and a child that ends without having used the store at all.
  EXPECT_EQ(Forked([&] {
              return child() || Forked([&] { return TokenIn(*store_, 8) == kNoToken; }) == 0;
            }),
            0);
  EXPECT_EQ(Forked([] { return true; }), 0);
  EXPECT_TRUE(store_->Bump(std::vector<Tag>{7}, {}).ok());
}

TEST_F(LmdbProcessTest, ForkAmidOtherThreadsCallsHarmsNobody) {
  SMARTCACHE_SKIP_FORK_AMID_THREADS();
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; !done; ++n) {
        const std::string key = std::to_string(i) + "/" + std::to_string(n % 20);
        const auto put = store_->Put(key, std::string(300, 'x'), kLong, PutCondition::kAlways);
        EXPECT_TRUE(put.ok()) << put.status().message();
        EXPECT_TRUE(store_->Get(key, {}).ok());
      }
    });
  }
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(Forked([&] {
                alarm(20);
                const auto put = store_->Put("child", "x", kLong, PutCondition::kAlways);
                EXPECT_TRUE(put.ok()) << put.status().message();
                return put.ok() && store_->Get("0/1", {}).ok();
              }),
              0);
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(LmdbProcessTest, ReaderKilledAmidACallDoesNotHoldUpTheRest) {
  const auto before = store_->Get("k", {});
  EXPECT_EQ(Forked([&] {
              auto generation = Generation::Acquire({folder_.path, "test", 0, kLong}).value();
              MDB_txn* txn = nullptr;
              if (generation->entries().environment().BeginRead(txn) != 0) return false;
              kill(getpid(), SIGKILL);
              return false;
            }),
            100 + SIGKILL);
  // Several times the map: with the dead one's pages kept, even an empty tree would find no room.
  for (int i = 0; i < 20'000; ++i) {
    const std::string key = std::to_string(i);
    ASSERT_TRUE(store_->Put(key, std::string(1000, 'x'), kLong, PutCondition::kAlways).ok());
  }
  const auto after = store_->Get("19999", {});
  EXPECT_TRUE(after->entry.has_value());
  EXPECT_EQ(after->epoch, before->epoch);
}

// Runs `body` in a child, with a small file system at `path` in a mount namespace of the child's
// own.
void OnASmallDisk(const std::string& path, const std::function<bool()>& body,
                  const std::string& limits = "size=3m") {
  constexpr int kCannot = 77;
  const int outcome = Forked([&] {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", path.c_str(), "tmpfs", 0, (limits + ",mode=0700").c_str()) != 0) {
      _exit(kCannot);
    }
    return body();
  });
  if (outcome == kCannot) GTEST_SKIP() << "needs the right to mount";
  EXPECT_EQ(outcome, 0);
}

TEST(LmdbDiskTest, FullDiskIsUnavailableAndNotTheEnd) {
  const TestFolder folder;
  OnASmallDisk(folder.path, [&] {
    const auto store = OpenLmdbStore(OptionsIn(folder.path));
    const std::string envelope(3000, 'x');
    bool was_full = false;
    for (int i = 0; i < 3000; ++i) {
      const auto put = store->Put(std::to_string(i), envelope, kLong, PutCondition::kAlways);
      const bool refused =
          put.status().code() == Code::kUnavailable || put.status().code() == Code::kTooLarge;
      if (!put.ok() && !refused) return false;
      was_full = was_full || !put.ok() || !store->Get("0", {})->entry;
      const Token token = MintIn(*store, 7);
      // A bump that is acknowledged is done, whatever there is room for.
      if (token != kNoToken && store->Bump(std::vector<Tag>{7}, {}).ok() &&
          TokenIn(*store, 7) == token) {
        return false;
      }
    }
    // It makes itself room, if not at once.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!store->Put("last", envelope, kLong, PutCondition::kAlways).ok()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return was_full && store->Get("last", {})->entry.has_value();
  });
}

TEST(LmdbDiskTest, EntryWithoutRoomCostsNeitherTheOthersTokensNorLong) {
  const TestFolder folder;
  const auto body = [&] {
    Options options = OptionsIn(folder.path);
    options.embedded_max_bytes = 64u << 20;
    const auto store = OpenLmdbStore(options);
    const std::string small(50'000, 'x');
    const std::string large(5'000'000, 'y');
    const Token token = MintIn(*store, 7);
    const auto begun = store->Begin("computed", 0, kLong);
    for (int i = 0; i < 40; ++i) {
      static_cast<void>(store->Put(std::to_string(i), small, kLong, PutCondition::kAlways));
    }
    for (int i = 0; i < 3; ++i) {
      const auto put = store->Put("large", large, kLong, PutCondition::kAlways);
      if (put.ok() || put.status().code() != Code::kTooLarge) return false;
      if (store->Get("large", {})->entry) return false;
    }
    FillRequest fill;
    fill.key = "computed";
    fill.envelope = large;
    fill.key_token = begun->key_token.token;
    const auto filled = store->Fill(fill);
    if (filled.ok() || filled.status().code() != Code::kTooLarge) return false;
    return TokenIn(*store, 7) == token &&
           store->Put("small", small, kLong, PutCondition::kAlways).ok();
  };
  OnASmallDisk(folder.path, body, "size=6m");
}

TEST(LmdbDiskTest, OpensOnADiskThatIsFullAndWorksOnceThereIsRoom) {
  const TestFolder folder;
  const auto body = [&] {
    const std::string wanted = folder.path + "/to/be/made";
    const auto store = OpenLmdbStore(OptionsIn(wanted));
    const auto put = store->Put("k", "v", kLong, PutCondition::kAlways);
    if (put.ok() || put.status().code() != Code::kUnavailable) return false;
    if (mount("none", folder.path.c_str(), "tmpfs", MS_REMOUNT, "nr_inodes=1000") != 0) {
      return false;
    }
    const auto again = OpenLmdbStore(OptionsIn(wanted));  // has not backed off
    return again->Put("k", "v", kLong, PutCondition::kAlways).ok();
  };
  OnASmallDisk(folder.path, body, "size=3m,nr_inodes=2");
}

TEST(LmdbDiskTest, OpensWhereNoFileCanBeOpenedJustNow) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer opens pipes to see whether memory can be read";
#endif
  const TestFolder folder;
  const int outcome = Forked([&] {
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    const auto store = OpenLmdbStore(OptionsIn(folder.path));
    const auto put = store->Put("k", "v", kLong, PutCondition::kAlways);
    setrlimit(RLIMIT_NOFILE, &before);
    if (put.ok() || put.status().code() != Code::kUnavailable) return false;
    // Another, which has not backed off: under the same name.
    return OpenLmdbStore(OptionsIn(folder.path))->Put("k", "v", kLong, PutCondition::kAlways).ok();
  });
  EXPECT_EQ(outcome, 0);
}

TEST(LmdbDiskTest, RetiredFilesGiveTheirSpaceToTheNew) {
  const TestFolder folder;
  OnASmallDisk(folder.path, [&] {
    const auto store = OpenLmdbStore(OptionsIn(folder.path));
    for (int i = 0; i < 300; ++i) {
      if (!store->Put(std::to_string(i), std::string(3000, 'x'), kLong, PutCondition::kAlways)
               .ok()) {
        return false;
      }
    }
    const int ballast =
        open((folder.path + "/ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const std::string page(4096, 'b');
    while (write(ballast, page.data(), page.size()) > 0) continue;
    close(ballast);
    Generation::Acquire({folder.path, "test", 0, kLong}).value()->control()->Retire();
    return store->Put("k", "v", kLong, PutCondition::kAlways).ok() && store->Get("k", {})->entry;
  });
}

}  // namespace
}  // namespace smartcache::lmdb
