#include "l2/lmdb/lmdb_store.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "l2/store_conformance.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

// A folder of its own, gone with it.
struct TestFolder {
  TestFolder() {
    std::string name = testing::TempDir() + "/smartcache-lmdb-XXXXXX";
    path = std::filesystem::canonical(mkdtemp(name.data())).string();
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  std::string path;
};

struct LmdbHarness {
  static constexpr bool kEmbedded = true;
  std::unique_ptr<Store> Open(Options options) {
    options.directory = folder.path;
    options.embedded_max_bytes = 16u << 20;
    auto store = OpenLmdbStore(options, clock);
    EXPECT_TRUE(store.ok()) << store.status().message();
    return std::move(store).value();
  }
  bool Eventually(Duration span, const std::function<bool()>& condition) {
    clock.Advance(span);
    return condition();
  }

  TestFolder folder;
  ManualClock clock;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Lmdb, StoreConformance, LmdbHarness);

}  // namespace
}  // namespace smartcache
