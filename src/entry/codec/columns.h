// Encodings of a rows block's columns, over the rows that are not null. n: how many those are.
//   kBool           kPlain: bitmap of n bits (1 = true)
//   ints, dates     kPlain: n zigzag varints. kPacked: zigzag varint base, byte w, n unsigned w-byte offsets
//   and times       from the base. kDelta: first value as zigzag varint, then n - 1 differences between
//                   neighbours, kPacked. kConstant: one zigzag varint
//   kFloat          kPlain: 8 bytes each. kConstant: 8 bytes.
//                   kDecimals: byte d, int encoding byte, ints; value = int / 10^d exactly
//   texts, bytes,   kPlain: n varint lengths, then the bytes. kWords: byte k, k words (varint length, bytes),
//   decimals, UUIDs then n one-byte word numbers. kConstant: one word.
//                   kDecimals (kDecimal only): as for floats, text = int with d decimals
// Encodings that take no byte a row (kConstant, kNull, width 0) draw on the payload's free cells.
#pragma once

#include <cstddef>
#include <cstdint>

#include "entry/codec/codec.h"

namespace smartcache::codec {

enum class Encoding : std::uint8_t { kPlain, kConstant, kPacked, kDelta, kWords, kDecimals };

inline constexpr std::uint8_t kHasNulls = 0x10;
constexpr std::uint8_t ColumnHead(ColumnType type, Encoding encoding, bool has_nulls) {
  return static_cast<std::uint8_t>(static_cast<unsigned>(type) |
                                   (has_nulls ? kHasNulls : 0u) |
                                   static_cast<unsigned>(encoding) << 5);
}
static_assert(static_cast<int>(ColumnType::kInvalid) <= 15);
static_assert(static_cast<int>(Encoding::kDecimals) <= 7);

constexpr bool IsInts(ColumnType type) {
  return type == ColumnType::kInt ||
         (type >= ColumnType::kDate && type <= ColumnType::kTimeDelta);
}
constexpr bool IsTexts(ColumnType type) {
  return type == ColumnType::kText || type == ColumnType::kBytes ||
         type == ColumnType::kDecimal || type == ColumnType::kUuid;
}

// Words of a kWords column: their numbers are one byte each.
inline constexpr std::size_t kMaxWords = 255;
// 10^18 is the largest power that fits an int64; doubles hold integers exactly up to 2^53 < 10^16.
inline constexpr int kMaxDecimals = 18;
inline constexpr int kMaxFloatDecimals = 15;

}  // namespace smartcache::codec
