#include "base/bytes.h"

#include <gtest/gtest.h>

#include <string>

namespace smartcache {
namespace {

using std::string_view_literals::operator""sv;

TEST(Varint, RoundTripsAndTakesSevenBitsAByte) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const std::uint64_t value : {std::uint64_t{1} << bits, (std::uint64_t{1} << bits) - 1}) {
      char bytes[kMaxVarintBytes];
      const auto size = static_cast<std::size_t>(PutVarint(bytes, value) - bytes);
      const auto significant = static_cast<std::size_t>(std::bit_width(value | 1));
      EXPECT_EQ(size, (significant + 6) / 7);
      ByteReader in({bytes, size});
      EXPECT_EQ(in.Varint(), value);
      EXPECT_TRUE(in.ok());
      EXPECT_EQ(in.left(), 0u);
    }
  }
}

TEST(Varint, RefusesWhatIsCutTooLongOrNotTheShortestForm) {
  for (const std::string_view bytes :
       {""sv, "\x80"sv, "\xff\xff"sv, "\x80\x00"sv, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"sv,
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv}) {
    ByteReader in(bytes);
    EXPECT_EQ(in.Varint(), 0u);
    EXPECT_FALSE(in.ok());
  }
}

TEST(Zigzag, MapsNearZeroToSmall) {
  EXPECT_EQ(ZigzagOf(0), 0u);
  EXPECT_EQ(ZigzagOf(-1), 1u);
  EXPECT_EQ(ZigzagOf(1), 2u);
  for (const std::int64_t value : {INT64_MIN, INT64_MIN + 1, std::int64_t{-5}, INT64_MAX}) {
    EXPECT_EQ(FromZigzag(ZigzagOf(value)), value);
  }
}

TEST(ByteReader, FailsOnceAndForAll) {
  ByteReader in("abc");
  EXPECT_EQ(in.Take(2), "ab");
  EXPECT_EQ(in.Take(2), "");
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.left(), 0u);
  EXPECT_EQ(in.Byte(), 0);
  EXPECT_EQ(in.Fixed<std::uint64_t>(), 0u);
}

}  // namespace
}  // namespace smartcache
