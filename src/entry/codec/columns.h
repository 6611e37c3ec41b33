// Encodings of a rows block's columns, over the rows that are not null. n: how many those are.
//   bools      kPlain     bitmap of n bits, 1 = true
//   ints,      kPlain     n zigzag varints
//   dates,     kPacked    base (zigzag varint), byte w, n unsigned offsets from it of w bytes each
//   times      kDelta     the first (zigzag varint), then kPacked of the n - 1 steps to the next
//              kConstant  one zigzag varint
//   floats     kPlain     8 bytes each
//              kDecimals  byte d, byte of an encoding of ints, ints; float = int / 10^d, exactly
//   texts,     kPlain     n varint lengths, then the bytes
//   bytes,     kWords     byte k, k words as kPlain, then n word numbers of a byte each
//   UUIDs      kConstant  one word as kPlain
//   decimals   as texts; kDecimals as for floats, text = int with d decimals
// Encodings that take no byte a row (kConstant, null columns, w = 0) draw on the free cells.
#pragma once

#include <cstddef>
#include <cstdint>

#include "entry/codec/codec.h"

namespace smartcache::codec {

enum class Encoding : std::uint8_t { kPlain, kConstant, kPacked, kDelta, kWords, kDecimals };

inline constexpr std::uint8_t kHasNulls = 0x10;
constexpr std::uint8_t ColumnHead(ColumnType type, Encoding encoding, bool has_nulls) {
  return static_cast<std::uint8_t>(static_cast<unsigned>(type) | (has_nulls ? kHasNulls : 0u) |
                                   static_cast<unsigned>(encoding) << 5);
}
static_assert(static_cast<int>(ColumnType::kInvalid) <= 15);
static_assert(static_cast<int>(Encoding::kDecimals) <= 7);

constexpr bool IsInts(ColumnType type) {
  return type == ColumnType::kInt || (type >= ColumnType::kDate && type <= ColumnType::kTimeDelta);
}
constexpr bool IsTexts(ColumnType type) {
  return type == ColumnType::kText || type == ColumnType::kBytes || type == ColumnType::kDecimal ||
         type == ColumnType::kUuid;
}

// Words of a kWords column: their numbers are one byte each.
inline constexpr std::size_t kMaxWords = 255;
// 10^18 is the largest power that fits an int64; doubles hold integers exactly up to 2^53 < 10^16.
inline constexpr int kMaxDecimals = 18;
inline constexpr int kMaxFloatDecimals = 15;

}  // namespace smartcache::codec
