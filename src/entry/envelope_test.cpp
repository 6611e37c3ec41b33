#include <gtest/gtest.h>

#include <random>

#include "base/sha256.h"
#include "smartcache/entry.h"

namespace smartcache {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

constexpr std::string_view kKey = "atlas.city(pk=5)";
constexpr std::size_t kBodyAt = 2 + 16;

Secret SecretOf(std::uint8_t seed) {
  Secret secret;
  for (std::size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<std::uint8_t>(seed + i);
  return secret;
}

EntryHeader FullHeader() {
  EntryHeader header;
  header.epoch = 0x0123456789abcdef;
  header.identity = 0xfedcba9876543210;
  header.hard_ttl = seconds(300);
  header.soft_ttl = seconds(60);
  header.cost = microseconds(1234);
  header.codec = static_cast<std::uint8_t>(Codec::kPickle) | kCompressed;
  header.tags = {{1, 2}, {UINT64_MAX, UINT64_MAX - 1}};
  return header;
}

std::string Encode(const EntryHeader& header, std::string_view payload = "payload") {
  return EncodeEntry(SecretOf(1), kKey, header, payload);
}

bool IsCorrupt(std::string_view envelope, std::string_view key = kKey, std::uint8_t secret = 1) {
  const auto entry = DecodeEntry(SecretOf(secret), key, envelope);
  return !entry.ok() && entry.status().code() == Code::kCorrupt;
}

void ExpectRoundTrip(const EntryHeader& header, std::string_view payload) {
  const std::string envelope = Encode(header, payload);
  const auto entry = DecodeEntry(SecretOf(1), kKey, envelope);
  ASSERT_TRUE(entry.ok()) << entry.status().message();
  EXPECT_EQ(entry->key, kKey);
  EXPECT_EQ(entry->payload, payload);
  EXPECT_EQ(entry->header.epoch, header.epoch);
  EXPECT_EQ(entry->header.identity, header.identity);
  EXPECT_EQ(entry->header.hard_ttl, header.hard_ttl);
  EXPECT_EQ(entry->header.soft_ttl, header.soft_ttl);
  EXPECT_EQ(entry->header.cost, header.cost);
  EXPECT_EQ(entry->header.codec, header.codec);
  EXPECT_EQ(entry->header.tags, header.tags);
  // Views of the envelope, not copies.
  EXPECT_EQ(entry->payload.data() + payload.size(), envelope.data() + envelope.size());
}

// An envelope with a right code around any body.
std::string Sealed(std::string_view body) {
  const Secret secret = SecretOf(1);
  const HmacKey key({reinterpret_cast<const char*>(secret.data()), secret.size()});
  const std::string magic = Encode({}).substr(0, 2);
  Sha256 hash = BeginHmac(key);
  hash.Update(magic);
  hash.Update(body);
  const Sha256Digest digest = FinishHmac(key, hash);
  return magic + std::string(digest.begin(), digest.begin() + 16) + std::string(body);
}

TEST(Entry, RoundTrips) {
  ExpectRoundTrip(FullHeader(), "payload");
  ExpectRoundTrip({}, "");
  ExpectRoundTrip(FullHeader(), std::string(100'000, '\xff'));
  EntryHeader header = FullHeader();
  header.tags.assign(1000, {3, 4});
  ExpectRoundTrip(header, "x");
  for (const Duration hard :
       {Duration(0), Duration(1), Duration(seconds(1)), kNever - Duration(1), kNever}) {
    for (const Duration soft : {Duration(0), Duration(1), hard, kNever}) {
      header.hard_ttl = hard;
      header.soft_ttl = soft;
      ExpectRoundTrip(header, "x");
    }
  }
}

TEST(Entry, RoundsItsCostToMicrosecondsAndLiftsNegativeTimesToZero) {
  EntryHeader header;
  header.hard_ttl = header.soft_ttl = Duration(-5);
  header.cost = Duration(1999);
  const std::string envelope = Encode(header);
  const auto entry = DecodeEntry(SecretOf(1), kKey, envelope);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->header.hard_ttl, Duration(0));
  EXPECT_EQ(entry->header.soft_ttl, Duration(0));
  EXPECT_EQ(entry->header.cost, microseconds(1));
}

TEST(Entry, AddsFewBytesToKeyAndPayload) {
  EntryHeader header;
  header.epoch = 1;
  header.codec = 1;
  header.hard_ttl = header.soft_ttl = seconds(300);
  header.tags = {{1, 2}};
  EXPECT_LE(Encode(header, "").size(), kKey.size() + 16 + 38);
}

TEST(Entry, AnyFlippedBitIsCorrupt) {
  const std::string envelope = Encode(FullHeader());
  ASSERT_FALSE(IsCorrupt(envelope));
  for (std::size_t bit = 0; bit < envelope.size() * 8; ++bit) {
    std::string flipped = envelope;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    ASSERT_TRUE(IsCorrupt(flipped)) << bit;
  }
}

TEST(Entry, AnyTruncationOrExtensionIsCorrupt) {
  const std::string envelope = Encode(FullHeader());
  for (std::size_t size = 0; size < envelope.size(); ++size) {
    ASSERT_TRUE(IsCorrupt(std::string_view(envelope).substr(0, size))) << size;
    ASSERT_TRUE(IsCorrupt(std::string_view(envelope).substr(size + 1))) << size;
  }
  EXPECT_TRUE(IsCorrupt(envelope + '\0'));
  EXPECT_TRUE(IsCorrupt(envelope + envelope));
}

TEST(Entry, AnyRandomMutationIsCorrupt) {
  const std::string envelope = Encode(FullHeader(), std::string(50, 'p'));
  const std::string other = Encode({}, "another");
  std::mt19937 random(4);
  for (int i = 0; i < 20'000; ++i) {
    std::string mutated = envelope;
    for (std::size_t times = 1 + random() % 4; times-- > 0 && !mutated.empty();) {
      const std::size_t at = random() % mutated.size();
      const std::size_t length = random() % 20;
      switch (random() % 4) {
        case 0:
          mutated[at] = static_cast<char>(random());
          break;
        case 1:
          mutated.erase(at, length);
          break;
        case 2:
          mutated.insert(at, mutated, random() % mutated.size(), length);
          break;
        default:
          mutated.replace(at, length, other, random() % other.size(), length);
      }
    }
    ASSERT_TRUE(mutated == envelope || IsCorrupt(mutated));
  }
}

TEST(Entry, AnotherKeySecretOrVersionIsCorrupt) {
  const std::string envelope = Encode(FullHeader());
  EXPECT_TRUE(IsCorrupt(envelope, "atlas.city(pk=6)"));
  EXPECT_TRUE(IsCorrupt(envelope, "atlas.city(pk=5"));
  EXPECT_TRUE(IsCorrupt(envelope, ""));
  EXPECT_TRUE(IsCorrupt(envelope, kKey, 2));
  std::string later = envelope;
  ++later[1];
  EXPECT_TRUE(IsCorrupt(later));
}

// Behind a right code, so that the structure's own checks are met.
TEST(Entry, AnAuthenticButMalformedBodyIsCorrupt) {
  const std::string body = Encode(FullHeader(), "").substr(kBodyAt);
  ASSERT_FALSE(IsCorrupt(Sealed(body)));
  for (std::size_t size = 0; size < body.size(); ++size) {
    EXPECT_TRUE(IsCorrupt(Sealed(body.substr(0, size)))) << size;
  }
  std::string unknown_flag = body;
  unknown_flag[0] = static_cast<char>(unknown_flag[0] | 0x40);
  EXPECT_TRUE(IsCorrupt(Sealed(unknown_flag)));
  // flags, codec, hard TTL 0, cost 0, then 2^60 tags.
  using std::string_view_literals::operator""sv;
  EXPECT_TRUE(IsCorrupt(Sealed("\0\1\0\0\x80\x80\x80\x80\x80\x80\x80\x80\x10"sv)));
  // A hard TTL that is kNever or beyond without saying so by its flag.
  EXPECT_TRUE(IsCorrupt(Sealed("\0\1\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0"sv)));
}

TEST(Entry, AReadySecretEncodesAsTheSecretItself) {
  const EntryKey ready(SecretOf(1));
  EXPECT_EQ(EncodeEntry(ready, kKey, FullHeader(), "p"), Encode(FullHeader(), "p"));
}

}  // namespace
}  // namespace smartcache
