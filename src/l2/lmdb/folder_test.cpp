#include "l2/lmdb/folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "l2/lmdb/test_folder.h"

namespace smartcache::lmdb {
namespace {

namespace fs = std::filesystem;

void ExpectRefused(const std::string& directory, const std::string& reason) {
  const auto folder = Folder::Open(directory, "test");
  ASSERT_FALSE(folder.ok()) << directory;
  EXPECT_EQ(folder.status().code(), Code::kInvalidArgument);
  EXPECT_NE(folder.status().message().find(reason), std::string::npos) << folder.status().message();
}

TEST(LmdbFolder, MakesWhatIsMissingForUsAlone) {
  const TestFolder test;
  const auto folder = Folder::Open(test.path + "/a/b/", "test");
  ASSERT_TRUE(folder.ok()) << folder.status().message();
  for (const std::string& path : {test.path + "/a", test.path + "/a/b", folder.value()->path()}) {
    struct stat status{};
    ASSERT_EQ(stat(path.c_str(), &status), 0) << path;
    EXPECT_EQ(status.st_mode & 07777, 0700u) << path;
  }
}

TEST(LmdbFolder, RefusesWhatIsNotOursAlone) {
  const TestFolder test;
  ExpectRefused("", "absolute");
  ExpectRefused("relative/path", "absolute");
  const std::string inner = test.path + "/inner";
  fs::create_directory(inner);
  fs::create_directory_symlink(inner, test.path + "/link");
  ExpectRefused(test.path + "/link", "symbolic link");
  ExpectRefused(test.path + "/link/", "symbolic link");
  std::ofstream(test.path + "/file") << "x";
  ExpectRefused(test.path + "/file", "not a folder");
  for (const mode_t mode : {0770u, 0777u, 0702u}) {
    ASSERT_EQ(chmod(inner.c_str(), mode), 0);
    ExpectRefused(inner, "other users");
  }
  ASSERT_EQ(chmod(inner.c_str(), 0755), 0);
  EXPECT_TRUE(Folder::Open(inner, "test").ok());
}

TEST(LmdbFolder, RefusesAnotherUsersFolder) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  const TestFolder test;
  ASSERT_EQ(chown(test.path.c_str(), 12345, 12345), 0);
  ExpectRefused(test.path, "belongs to user 12345");
}

TEST(LmdbFolder, RefusesALinkInPlaceOfItsFolder) {
  const TestFolder test, elsewhere;
  fs::create_directory_symlink(elsewhere.path, test.path + "/" + *FolderName("test"));
  ExpectRefused(test.path, "symbolic link");
}

TEST(LmdbFolder, KeepsPrefixesApart) {
  EXPECT_EQ(*FolderName("a"), *FolderName("a"));
  EXPECT_NE(*FolderName("a"), *FolderName("b"));
}

TEST(LmdbFolder, ClearsAwayFoldersOfOtherBootsThatNobodyUses) {
  const TestFolder test;
  const auto present = Folder::Open(test.path, "another prefix");
  ASSERT_TRUE(present.ok());
  // As they would be left by an earlier boot: one abandoned, one in use by another container.
  const std::string abandoned = test.path + "/djsmartcache-0123456789abcdef.1x64-earlier-boot-1";
  const std::string in_use = test.path + "/djsmartcache-0123456789abcdef.1x64-same-boot-2";
  std::string held_name = "held";
  {
    auto held = Folder::Open(test.path, held_name);
    ASSERT_TRUE(held.ok());
    const std::string held_path = held.value()->path();
    fs::create_directories(held_path + "/data");
    std::ofstream(held_path + "/data/entries") << "x";
    fs::copy(held_path, abandoned, fs::copy_options::recursive);
    fs::rename(held_path, in_use);  // its lock goes with it
    ASSERT_TRUE(Folder::Open(test.path, "third").ok());
    EXPECT_FALSE(fs::exists(abandoned));
    EXPECT_TRUE(fs::exists(in_use + "/data/entries"));
  }
  ASSERT_TRUE(Folder::Open(test.path, "third").ok());
  EXPECT_FALSE(fs::exists(in_use));
  EXPECT_TRUE(fs::exists(present.value()->path()));
}

TEST(LmdbFolder, LetsOneInAtATime) {
  const TestFolder test;
  const auto folder = Folder::Open(test.path, "test");
  ASSERT_TRUE(folder.ok());
  {
    const auto first = folder.value()->Enter(std::chrono::seconds(5));
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(folder.value()->Enter(Duration(0)).status().code(), Code::kUnavailable);
  }
  EXPECT_TRUE(folder.value()->Enter(Duration(0)).ok());
}

TEST(LmdbFolder, ForkedChildDoesNotHoldTheDoor) {
  const TestFolder test;
  const auto folder = Folder::Open(test.path, "test");
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  pid_t child = -1;
  {
    const auto door = folder.value()->Enter(Duration(0));
    ASSERT_TRUE(door.ok());
    child = fork();  // with the door's file open
    if (child == 0) {
      char byte = 0;
      close(ends[1]);
      _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);  // until the parent closes its end
    }
  }
  EXPECT_TRUE(folder.value()->Enter(Duration(0)).ok());
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace smartcache::lmdb
