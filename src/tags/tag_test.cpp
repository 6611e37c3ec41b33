#include "smartcache/tag.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace smartcache {
namespace {

constexpr TagKind kKinds[] = {TagKind::kTable, TagKind::kBulk,      TagKind::kConditionBulk,
                              TagKind::kRow,   TagKind::kCondition, TagKind::kUser};

TEST(MakeTag, PutsAllTagsOfAScopeIntoOneBucket) {
  std::set<unsigned> buckets;
  for (int table = 0; table < 2000; ++table) {
    const std::string scope = "db:table" + std::to_string(table);
    const unsigned bucket = BucketOf(MakeTag(TagKind::kTable, scope, ""));
    for (const TagKind kind : kKinds) EXPECT_EQ(BucketOf(MakeTag(kind, scope, "5")), bucket);
    buckets.insert(bucket);
  }
  EXPECT_EQ(buckets.size(), 256u);
}

TEST(MakeTag, TellsKindScopeAndDetailApart) {
  std::set<Tag> tags;
  for (const TagKind kind : kKinds) {
    for (const std::string_view scope : {"", "a", "ab", "ba"}) {
      for (const std::string_view detail : {"", "a", "b", "ab", "1"}) {
        EXPECT_TRUE(tags.insert(MakeTag(kind, scope, detail)).second);
      }
    }
  }
}

TEST(MakeTag, SpreadsTheRowsOfATable) {
  std::set<Tag> tags;
  for (int row = 0; row < 100'000; ++row) {
    tags.insert(MakeTag(TagKind::kRow, "db:city", std::to_string(row)));
  }
  EXPECT_EQ(tags.size(), 100'000u);
}

// Processes of different builds share a store: a change here is a change of the protocol.
TEST(MakeTag, StaysTheSameInAllBuilds) {
  EXPECT_EQ(MakeTag(TagKind::kRow, "default:atlas_city", "5"), Tag{0x878e6561406d2b7d});
  EXPECT_EQ(KeyTag("atlas.city(pk=5)"), Tag{0xbcd7da96ea58457a});
}

TEST(KeyTag, UsesAllBucketsAndIsNoUserTag) {
  std::set<unsigned> buckets;
  for (int i = 0; i < 5000; ++i) buckets.insert(BucketOf(KeyTag("key:" + std::to_string(i))));
  EXPECT_EQ(buckets.size(), 256u);
  EXPECT_NE(KeyTag("users"), MakeTag(TagKind::kUser, "users", ""));
}

}  // namespace
}  // namespace smartcache
