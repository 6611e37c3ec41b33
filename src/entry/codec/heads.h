// The first bytes of values, as writer and reader share them; see codec.h for the format.
#pragma once

#include <cstddef>
#include <cstdint>

#include "entry/codec/codec.h"

namespace smartcache::codec {

inline constexpr std::uint8_t kShortText = 0x40;  // below: small ints
inline constexpr std::uint8_t kSharedText = 0x80;
inline constexpr std::uint8_t kTypes = 0xc0;
inline constexpr std::uint8_t kSecondForm = 0x20;
inline constexpr std::size_t kShort = 64;  // bound of small ints, short texts' sizes, small indices
static_assert(static_cast<std::size_t>(Type::kTagged) < kSecondForm);

constexpr char HeadOf(Type type, std::uint8_t form = 0) {
  return static_cast<char>(kTypes + form + static_cast<std::uint8_t>(type));
}

constexpr Type TypeOf(std::uint8_t head) {
  if (head < kShortText) return Type::kInt;
  if (head < kTypes) return Type::kText;
  const auto type = static_cast<Type>(head & (kSecondForm - 1));
  if (type < Type::kNone || type > Type::kTagged) return Type::kInvalid;
  const bool has_second_form = type == Type::kBool || type == Type::kText;
  return (head & kSecondForm) != 0 && !has_second_form ? Type::kInvalid : type;
}

// The byte after the head of times: zone kind and fold.
inline constexpr std::uint8_t kZoneMask = 3;
inline constexpr std::uint8_t kFold = 4;
inline constexpr std::uint8_t kAllTimeFlags = 7;
constexpr char TimeFlags(const Zone& zone, bool fold) {
  return static_cast<char>(static_cast<std::uint8_t>(zone.kind) | (fold ? kFold : 0));
}

}  // namespace smartcache::codec
