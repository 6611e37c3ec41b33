#include "l2/redis/message.h"

#include <gtest/gtest.h>

namespace smartcache::redis {
namespace {

TEST(Message, ComesBackAsItWas) {
  const std::vector<Tag> tags = {0, 1, ~Tag{0}, 0x0102030405060708};
  for (const MessageKind kind : {MessageKind::kBump, MessageKind::kClear, MessageKind::kUnlock}) {
    const auto message = DecodeMessage(EncodeMessage(kind, 0xfedcba9876543210, tags));
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->kind, kind);
    EXPECT_EQ(message->origin, 0xfedcba9876543210);
    EXPECT_EQ(message->tags, tags);
  }
  EXPECT_TRUE(DecodeMessage(MessageHead(MessageKind::kBump, 1))->tags.empty());
}

TEST(Message, HasTheDocumentedBytes) {
  EXPECT_EQ(EncodeMessage(MessageKind::kBump, 1, std::vector<Tag>{0x0102}),
            std::string("\x01"
                        "b\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0",
                        18));
}

TEST(Message, RefusesWhatItDoesNotUnderstand) {
  const std::string good = EncodeMessage(MessageKind::kBump, 1, std::vector<Tag>{7, 8});
  for (std::size_t size = 0; size < good.size(); ++size) {
    // Whole numbers of tags are messages, too.
    EXPECT_EQ(DecodeMessage(good.substr(0, size)).has_value(), size == 10 || size == 18) << size;
  }
  EXPECT_FALSE(DecodeMessage(good + "x").has_value());
  for (const auto& [at, byte] : {std::pair{0, '\x02'}, std::pair{0, '\0'}, std::pair{1, 'x'}}) {
    std::string bad = good;
    bad[static_cast<std::size_t>(at)] = byte;
    EXPECT_FALSE(DecodeMessage(bad).has_value());
  }
}

}  // namespace
}  // namespace smartcache::redis
