#include "smartcache/result.h"

#include <gtest/gtest.h>

namespace smartcache {
namespace {

TEST(Result, HoldsAValueOrAStatus) {
  const Result<std::string> value = std::string("text");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value, "text");
  EXPECT_TRUE(value.status().ok());
  const Result<std::string> error = Corrupt("cut short");
  ASSERT_FALSE(error.ok());
  EXPECT_EQ(error.status().code(), Code::kCorrupt);
  EXPECT_EQ(error.status().message(), "cut short");
}

TEST(Code, HasANameForEach) {
  EXPECT_EQ(CodeName(Code::kOk), "ok");
  EXPECT_EQ(CodeName(Code::kUnavailable), "unavailable");
  EXPECT_EQ(CodeName(Code::kTooLarge), "too large");
  EXPECT_EQ(CodeName(Code::kCorrupt), "corrupt");
  EXPECT_EQ(CodeName(Code::kInvalidArgument), "invalid argument");
}

}  // namespace
}  // namespace smartcache
