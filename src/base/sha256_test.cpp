#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

#include "base/sha256_blocks.h"

namespace smartcache {
namespace {

std::string Hex(const Sha256Digest& digest) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::string_view View(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

Sha256Digest HmacOf(std::string_view key, std::string_view message) {
  const HmacKey ready(key);
  Sha256 hash = BeginHmac(ready);
  hash.Update(message);
  return FinishHmac(ready, hash);
}

// Bytes 0, 1, 2 .. that several tests cut pieces from.
std::string Ramp() {
  std::string bytes;
  for (int i = 0; i < 300; ++i) bytes += static_cast<char>(i);
  return bytes;
}

// FIPS 180-4 examples (NIST, "Example algorithms", SHA-256) and the empty message.
TEST(Sha256, MatchesTheStandardsExamples) {
  EXPECT_EQ(Hex(Sha256Of("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256Of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256Of(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// The digest of the digests of all prefixes; by Python's hashlib.
TEST(Sha256, AgreesWithHashlibForEveryLength) {
  const std::string bytes = Ramp();
  Sha256 all;
  for (std::size_t n = 0; n < 300; ++n) {
    all.Update(View(Sha256Of(std::string_view(bytes).substr(0, n))));
  }
  EXPECT_EQ(Hex(all.Finish()), "df90175783c44235cf6aefd935a2c2747f42399416d16789ece339f1fd26d835");
}

TEST(Sha256, DoesNotDependOnHowTheBytesCome) {
  const std::string bytes = Ramp();
  const Sha256Digest whole = Sha256Of(bytes);
  for (std::size_t first = 0; first < 130; ++first) {
    for (const std::size_t second : {0u, 1u, 63u, 64u, 65u, 128u}) {
      Sha256 hash;
      hash.Update(std::string_view(bytes).substr(0, first));
      hash.Update(std::string_view(bytes).substr(first, second));
      hash.Update(std::string_view(bytes).substr(first + second));
      ASSERT_EQ(hash.Finish(), whole) << first << " " << second;
    }
  }
}

TEST(Sha256, PortableAndChosenBlocksAgree) {
  std::string bytes = Ramp() + Ramp();
  const auto* blocks = reinterpret_cast<const std::uint8_t*>(bytes.data());
  for (std::size_t count = 0; count <= 9; ++count) {
    Sha256State chosen = Sha256().state();
    Sha256State portable = chosen;
    Sha256Blocks(chosen, blocks, count);
    Sha256BlocksPortable(portable, blocks, count);
    EXPECT_EQ(chosen, portable) << count;
  }
}

// RFC 4231, test cases 1, 2, 3, 6 and 7.
TEST(Hmac, MatchesRfc4231) {
  EXPECT_EQ(Hex(HmacOf(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(Hex(HmacOf("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(Hex(HmacOf(std::string(20, '\xaa'), std::string(50, '\xdd'))),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  EXPECT_EQ(Hex(HmacOf(std::string(131, '\xaa'),
                       "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(Hex(HmacOf(std::string(131, '\xaa'),
                       "This is a test using a larger than block-size key and a larger than "
                       "block-size data. The key needs to be hashed before being used by the "
                       "HMAC algorithm.")),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

// Keys and messages of many lengths; by Python's hmac.
TEST(Hmac, AgreesWithHashlibForEveryLength) {
  const std::string bytes = Ramp();
  Sha256 all;
  for (std::size_t n = 0; n < 300; ++n) {
    const std::string_view key = std::string_view(bytes).substr(0, n);
    all.Update(View(HmacOf(key, std::string_view(bytes).substr(0, n * 3 % 299))));
  }
  EXPECT_EQ(Hex(all.Finish()), "61ba58df0e8e1635d9719b7ea9e8ea09f77ce8d43a8b58c1418ca0c783e63b30");
}

TEST(EqualInConstantTime, SeesEveryDifference) {
  std::array<std::uint8_t, 16> a{};
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::array<std::uint8_t, 16> b = a;
    EXPECT_TRUE(EqualInConstantTime(a, b));
    b[i] = 0x80;
    EXPECT_FALSE(EqualInConstantTime(a, b));
  }
  EXPECT_FALSE(EqualInConstantTime(a, std::span(a).first(15)));
}

}  // namespace
}  // namespace smartcache
