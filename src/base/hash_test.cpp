#include "base/hash.h"

#include <gtest/gtest.h>

#include <string>

namespace smartcache {
namespace {

struct Vector {
  std::size_t length;
  std::uint64_t unseeded;
  std::uint64_t seeded;
};

// Of bytes (7 i + 3) mod 256, seeds 0 and 0x9E3779B185EBCA8D; by the package xxhash 3.5.0.
constexpr Vector kVectors[] = {
    {0, 0xef46db3751d8e999, 0x0b303d920ec349df},   {1, 0x1f25c8d0bc1f4bb6, 0x4e38da78585833ff},
    {3, 0x31d2363f52e564c9, 0xdb3c6b59a9bf9c25},   {4, 0x9bb64b7d66ee9fda, 0xdce74de74556ff94},
    {5, 0xc7608efddb7051fe, 0xf48a58714276bceb},   {7, 0x9a7b149959ce60d8, 0xba5b6f2cc49d11a0},
    {8, 0xdab99d95c6f90092, 0xf66e0ca3301b75a3},   {9, 0x170bb6bf975b4c02, 0x3bd26e7c71c0518e},
    {12, 0xd52e407833af5133, 0xd70ab81030abd2af},  {15, 0x1b47cb8243cc8e32, 0xd7c592e3e10089aa},
    {16, 0x434850232b787be2, 0x39d13081d23e2ff3},  {31, 0xa2aa5f33cc4a6119, 0x66f647a52a03a377},
    {32, 0x23c3c17ef790fd97, 0x01b323691afef034},  {33, 0x50a7cfc7ba588784, 0x527f3caeff0c9292},
    {40, 0xb620306b253d76b6, 0x8cdf028da592dcca},  {63, 0x5e3e54b431c7493c, 0xca00b70007169fc7},
    {64, 0x0eb64b3ef6eeb01f, 0x34d5a64ae8dc6e9f},  {65, 0xa383b724b2bd12f1, 0x43d685ded689f7d4},
    {100, 0xa61f8d4c170fe531, 0x919ccda367e2a61e}, {199, 0xf7efd3430a01de39, 0x206873e20354b43e},
};

TEST(Hash64, IsXxh64) {
  std::string bytes;
  for (int i = 0; i < 200; ++i) bytes += static_cast<char>(i * 7 + 3);
  for (const Vector& vector : kVectors) {
    const std::string_view part = std::string_view(bytes).substr(0, vector.length);
    EXPECT_EQ(Hash64(part), vector.unseeded) << vector.length;
    EXPECT_EQ(Hash64(part, 0x9E3779B185EBCA8D), vector.seeded) << vector.length;
  }
}

TEST(Hash64, DoesNotDependOnAlignment) {
  const std::string bytes(101, 'x');
  const std::string shifted = " " + bytes;
  EXPECT_EQ(Hash64(bytes), Hash64(std::string_view(shifted).substr(1)));
}

}  // namespace
}  // namespace smartcache
