// Little-endian numbers and varints (LEB128), written and read with bounds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace smartcache {

static_assert(std::endian::native == std::endian::little);

inline constexpr std::size_t kMaxVarintBytes = 10;

// Writes at most kMaxVarintBytes; returns the end.
inline char* PutVarint(char* at, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

template <class Number>
char* PutFixed(char* at, Number value) {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

// 0, -1, 1, -2 .. as 0, 1, 2, 3 ..
constexpr std::uint64_t ZigzagOf(std::int64_t value) {
  return static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63);
}
constexpr std::int64_t FromZigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1 ^ (0 - (value & 1)));
}

// Reads from a view. Failure is sticky: what is read afterwards is 0 or empty.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  [[nodiscard]] bool ok() const { return !failed_; }
  void Fail() {
    failed_ = true;
    at_ = end_;
  }
  [[nodiscard]] std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  // The byte that comes next; only while left() > 0.
  [[nodiscard]] std::uint8_t Peek() const { return static_cast<std::uint8_t>(*at_); }

  std::uint8_t Byte() {
    if (at_ == end_) {
      Fail();
      return 0;
    }
    return static_cast<std::uint8_t>(*at_++);
  }
  template <class Number>
  Number Fixed() {
    Number value{};
    if (left() < sizeof value) {
      Fail();
    } else {
      std::memcpy(&value, at_, sizeof value);
      at_ += sizeof value;
    }
    return value;
  }
  // Only the shortest form is accepted, so that a value has one encoding.
  std::uint64_t Varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = Byte();
      const std::uint64_t bits = byte & 0x7f;
      if (shift == 63 && bits > 1) break;
      value |= bits << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) break;
        return value;
      }
    }
    Fail();
    return 0;
  }
  std::int64_t Zigzag() { return FromZigzag(Varint()); }
  std::string_view Take(std::uint64_t bytes) {
    if (left() < bytes) {
      Fail();
      return {};
    }
    const std::string_view taken(at_, static_cast<std::size_t>(bytes));
    at_ += bytes;
    return taken;
  }

 private:
  const char* at_;
  const char* end_;
  bool failed_ = false;
};

}  // namespace smartcache
