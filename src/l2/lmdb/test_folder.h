// What the tests of the embedded store share.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "smartcache/cache.h"

namespace smartcache::lmdb {

// A folder of its own, gone with it.
struct TestFolder {
  TestFolder() {
    std::string name = testing::TempDir() + "/smartcache-lmdb-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path = std::filesystem::canonical(name).string();
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  [[nodiscard]] Options options() const {
    Options options;
    options.directory = path;
    options.prefix = "test";
    options.embedded_max_bytes = 16u << 20;
    return options;
  }
  std::string path;
};

}  // namespace smartcache::lmdb
