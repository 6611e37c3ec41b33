#include "l2/lmdb/lmdb_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "l2/lmdb/test_folder.h"
#include "l2/store_conformance.h"

namespace smartcache::lmdb {
namespace {

namespace fs = std::filesystem;

struct LmdbHarness {
  static constexpr bool kEmbedded = true;
  std::unique_ptr<Store> Open(Options options) {
    options.directory = folder.path;
    options.embedded_max_bytes = 16u << 20;
    return OpenLmdbStore(options, clock);
  }
  bool Eventually(Duration span, const std::function<bool()>& condition) {
    clock.Advance(span);
    return condition();
  }

  TestFolder folder;
  ManualClock clock;
};

}  // namespace
}  // namespace smartcache::lmdb

namespace smartcache {
INSTANTIATE_TYPED_TEST_SUITE_P(Lmdb, StoreConformance, lmdb::LmdbHarness);
}  // namespace smartcache

namespace smartcache::lmdb {
namespace {

constexpr Duration kLong = std::chrono::minutes(5);

class LmdbStoreTest : public testing::Test {
 protected:
  bool Put(const std::string& key, std::string_view envelope, Duration ttl = kLong) {
    const auto reply = store_->Put(key, envelope, ttl, PutCondition::kAlways);
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    return reply.ok() && reply->stored;
  }
  bool Has(const std::string& key) {
    const auto reply = store_->Get(key, {});
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    return reply.ok() && reply->entry.has_value();
  }
  Token Mint(Tag tag) { return store_->Mint(std::vector<Tag>{tag}, {})->tokens.at(0).token; }
  [[nodiscard]] std::string Data() const {
    return folder_.path + "/" + *FolderName(folder_.options().prefix) + "/data";
  }
  // True when the store turns untrusted by itself, without being called, within its time of
  // looking.
  bool NoticesByItself() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (store_->ChangeCounter() != 0u) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  TestFolder folder_;
  ManualClock clock_;
  std::unique_ptr<Store> store_ = OpenLmdbStore(folder_.options(), clock_);
};

TEST_F(LmdbStoreTest, FullMapEvictsTheOldAndNeverRefuses) {
  const std::string envelope(1000, 'x');
  constexpr int kEntries =
      20'000;  // four times what fits: pages of 4 kB hold two of these at random
  for (int i = 0; i < kEntries; ++i) {
    clock_.Advance(std::chrono::microseconds(1));
    ASSERT_TRUE(Put(std::to_string(i), envelope));
    ASSERT_TRUE(i % 100 != 0 || Has(std::to_string(i)));
  }
  int kept_of_the_old = 0, kept_of_the_new = 0;
  for (int i = 0; i < 2000; ++i) {
    kept_of_the_old += Has(std::to_string(i)) ? 1 : 0;
    kept_of_the_new += Has(std::to_string(kEntries - 1 - i)) ? 1 : 0;
  }
  EXPECT_LT(kept_of_the_old, 20);
  EXPECT_GT(kept_of_the_new, 1950);
}

TEST_F(LmdbStoreTest, EvictsTheExpiredBeforeTheLiving) {
  const std::string envelope(1000, 'x');
  constexpr int kLiving = 1500, kBrief = 4000;  // fill the map
  for (int i = 0; i < kLiving; ++i) ASSERT_TRUE(Put("living" + std::to_string(i), envelope));
  clock_.Advance(std::chrono::seconds(1));
  for (int i = 0; i < kBrief; ++i) {
    ASSERT_TRUE(Put("brief" + std::to_string(i), envelope, std::chrono::seconds(1)));
  }
  const auto living = [&] {
    int count = 0;
    for (int i = 0; i < kLiving; ++i) count += Has("living" + std::to_string(i)) ? 1 : 0;
    return count;
  };
  const int before = living();
  EXPECT_GT(before, kLiving / 2);
  clock_.Advance(std::chrono::seconds(2));  // all that is newer has expired
  // Each needs the room of a hundred.
  for (int i = 0; i < 25; ++i) {
    ASSERT_TRUE(Put("large" + std::to_string(i), std::string(100'000, 'l')));
  }
  EXPECT_GT(living(), before - 20);
}

TEST_F(LmdbStoreTest, ReaderThatNeverEndsCostsTheEntriesAndNothingElse) {
  const auto generation =
      Generation::Acquire({folder_.path, folder_.options().prefix, 0, kLong}).value();
  ASSERT_TRUE(Put("k", "v"));
  MDB_txn* txn = nullptr;
  ASSERT_EQ(generation->entries().environment().BeginRead(txn), 0);
  // It keeps the pages of its time, so that there comes a moment when nothing can be made room.
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(Put(std::to_string(i), std::string(1000, 'x')));
  EXPECT_TRUE(Has("19999"));
  EXPECT_TRUE(generation->control()->retired());
  mdb_txn_abort(txn);
}

TEST_F(LmdbStoreTest, TakesLargeValuesIntoAMapFullOfSmallOnes) {
  for (int i = 0; i < 60'000; ++i) {
    ASSERT_TRUE(Put("small" + std::to_string(i), std::string(200, 's')));
  }
  std::string large(1'500'000, 'l');
  for (int i = 0; i < 40; ++i) {
    large[0] = static_cast<char>(i);
    ASSERT_TRUE(Put("large" + std::to_string(i), large));
    const auto reply = store_->Get("large" + std::to_string(i), {});
    ASSERT_TRUE(reply.ok() && reply->entry);
    EXPECT_EQ(reply->entry->envelope, large);
  }
}

TEST_F(LmdbStoreTest, ValueThatCannotFitLeavesNeitherALockNorAnOldValue) {
  const std::string huge(3u << 20, 'h');
  const auto begun = store_->Begin("k", 42, kLong);
  const auto filled = store_->Fill({"k", huge, kLong, begun->key_token.token, 42});
  EXPECT_EQ(filled.status().code(), Code::kTooLarge);
  EXPECT_TRUE(store_->Begin("k", 43, kLong)->locked);  // released all the same
  ASSERT_TRUE(Put("k", "small"));
  EXPECT_EQ(store_->Put("k", huge, kLong, PutCondition::kAlways).status().code(), Code::kTooLarge);
  EXPECT_FALSE(Has("k"));
}

TEST_F(LmdbStoreTest, ManyMoreTokensThanFitAreMintedStill) {
  // The map of the tokens has 2 MB. Tokens may be lost for it, but what a call returns is present.
  std::vector<Tag> tags(500);
  for (Tag i = 0; i < 400; ++i) {
    for (Tag j = 0; j < tags.size(); ++j) tags[j] = (i * 500 + j + 1) * 0x9E3779B97F4A7C15u;
    const auto minted = store_->Mint(tags, {});
    ASSERT_TRUE(minted.ok()) << minted.status().message();
    const auto present = store_->Tokens(tags);
    for (std::size_t j = 0; j < tags.size(); ++j) {
      ASSERT_EQ(present->tokens[j].token, minted->tokens[j].token);
    }
    ASSERT_TRUE(store_->Bump(std::vector<Tag>{tags[0]}, {}).ok());
    EXPECT_EQ(store_->Tokens(std::vector<Tag>{tags[0]})->tokens[0].token, kNoToken);
  }
}

TEST_F(LmdbStoreTest, PrefixesAreApart) {
  Options options = folder_.options();
  options.prefix = "other";
  const auto other = OpenLmdbStore(options, clock_);
  ASSERT_TRUE(Put("k", "v"));
  const Token token = Mint(7);
  EXPECT_FALSE(other->Get("k", {})->entry.has_value());
  ASSERT_TRUE(other->Clear().ok());
  EXPECT_TRUE(Has("k"));
  EXPECT_EQ(Mint(7), token);
}

TEST_F(LmdbStoreTest, EntriesOutliveTheirProcessesLastStore) {
  ASSERT_TRUE(Put("k", "v"));
  const std::uint64_t epoch = store_->Get("k", {})->epoch;
  store_.reset();
  store_ = OpenLmdbStore(folder_.options(), clock_);
  EXPECT_TRUE(Has("k"));
  EXPECT_EQ(store_->Get("k", {})->epoch, epoch);
}

TEST_F(LmdbStoreTest, NoticesThatItsFolderWasDeleted) {
  const auto other = OpenLmdbStore(folder_.options(), clock_);
  ASSERT_TRUE(Put("k", "v"));
  const auto before = store_->Get("k", {});
  fs::remove_all(folder_.path);
  // A write looks at once, and the others hear of it with it.
  ASSERT_TRUE(other->Bump(std::vector<Tag>{7}, {}).ok());
  EXPECT_EQ(store_->ChangeCounter(), 0u);
  EXPECT_FALSE(Has("k"));
  const auto after = store_->Get("k", {});
  EXPECT_NE(after->epoch, before->epoch);
  EXPECT_NE(after->stamp, before->stamp);
  EXPECT_TRUE(Put("k", "w"));
  EXPECT_TRUE(Has("k"));
}

TEST_F(LmdbStoreTest, ReaderNoticesADeletionByItself) {
  ASSERT_TRUE(Put("k", "v"));
  EXPECT_NE(store_->ChangeCounter(), 0u);
  fs::remove_all(folder_.path);
  EXPECT_TRUE(NoticesByItself());
  EXPECT_FALSE(Has("k"));
}

// Each way to spoil the files, done while nobody has them open.
struct Spoiling {
  const char* name;
  std::function<void(const std::string& data)> spoil;
};
void Overwrite(const std::string& path, off_t offset, std::size_t bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(file, 0) << path;
  const std::string garbage(bytes, '\xAB');
  EXPECT_EQ(pwrite(file, garbage.data(), bytes, offset), static_cast<ssize_t>(bytes));
  close(file);
}

TEST_F(LmdbStoreTest, WipesFilesThatCannotBeTrusted) {
  const Spoiling spoilings[] = {
      {"control cut short", [](const auto& data) { fs::resize_file(data + "/control", 100); }},
      {"control empty", [](const auto& data) { fs::resize_file(data + "/control", 0); }},
      {"control gone", [](const auto& data) { fs::remove(data + "/control"); }},
      {"control foreign", [](const auto& data) { Overwrite(data + "/control", 0, 64); }},
      {"control a link",
       [](const auto& data) {
         fs::rename(data + "/control", data + "/../stray");
         fs::create_symlink(data + "/../stray", data + "/control");
       }},
      {"entries cut short", [](const auto& data) { fs::resize_file(data + "/entries", 8192); }},
      {"entries' head foreign", [](const auto& data) { Overwrite(data + "/entries", 0, 8192); }},
      {"tokens cut short", [](const auto& data) { fs::resize_file(data + "/tokens", 4096); }},
      {"tokens all foreign",
       [](const auto& data) { Overwrite(data + "/tokens", 0, fs::file_size(data + "/tokens")); }},
      {"data a file",
       [](const auto& data) {
         fs::remove_all(data);
         std::ofstream(data) << "x";
       }},
  };
  for (const Spoiling& spoiling : spoilings) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(Put("k" + std::to_string(i), std::string(3000, 'x')));
    const Token token = Mint(7);
    const auto before = store_->Get("k0", {});
    ASSERT_TRUE(before->entry) << spoiling.name;
    store_.reset();
    spoiling.spoil(Data());
    store_ = OpenLmdbStore(folder_.options(), clock_);
    EXPECT_FALSE(Has("k0")) << spoiling.name;
    EXPECT_NE(store_->Get("k0", {})->epoch, before->epoch) << spoiling.name;
    EXPECT_NE(Mint(7), token) << spoiling.name;
  }
}

TEST_F(LmdbStoreTest, LeavesNothingOfRetiredFiles) {
  ASSERT_TRUE(Put("k", "v"));
  store_.reset();
  fs::resize_file(Data() + "/control", 0);
  store_ = OpenLmdbStore(folder_.options(), clock_);
  ASSERT_TRUE(Put("k", "v"));
  int members = 0;
  for (const auto& member : fs::directory_iterator(fs::path(Data()).parent_path())) {
    members += member.path().filename().string().find('-') != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(members, 0);
}

TEST_F(LmdbStoreTest, FolderThatCannotBeUsedIsTheStoreBeingDown) {
  Options options = folder_.options();
  options.directory = folder_.path + "/late";
  std::ofstream(options.directory) << "in the way";
  EXPECT_EQ(CheckLmdbFolder(options.directory, options.prefix).code(), Code::kInvalidArgument);
  const auto store = OpenLmdbStore(options, clock_);
  EXPECT_EQ(store->Put("k", "v", kLong, PutCondition::kAlways).status().code(), Code::kUnavailable);
  EXPECT_FALSE(store->Available());
  fs::remove(options.directory);
  EXPECT_TRUE(CheckLmdbFolder(options.directory, options.prefix).ok());
  while (!store->Available()) std::this_thread::yield();
  EXPECT_TRUE(store->Put("k", "v", kLong, PutCondition::kAlways).ok());
}

}  // namespace
}  // namespace smartcache::lmdb
