#include "key/key_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>

namespace smartcache {
namespace {

constexpr bool IsLetter(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
constexpr bool IsDigit(unsigned char c) { return c >= '0' && c <= '9'; }

// Which bytes stand for themselves, bare and within quotes.
struct ByteClass {
  bool bare = false;
  bool quoted = false;
};
constexpr std::array<ByteClass, 256> kBytes = [] {
  std::array<ByteClass, 256> classes{};
  for (unsigned c = 0; c < 256; ++c) {
    const auto byte = static_cast<unsigned char>(c);
    const bool word = IsLetter(byte) || IsDigit(byte) || c == '-';
    classes[c] = {word, word || std::string_view(".@/+ ").find(static_cast<char>(c)) !=
                                    std::string_view::npos};
  }
  return classes;
}();

bool IsBare(std::string_view text) {
  if (text.empty() || !IsLetter(static_cast<unsigned char>(text[0]))) return false;
  if (!std::all_of(text.begin(), text.end(),
                   [](char c) { return kBytes[static_cast<unsigned char>(c)].bare; })) {
    return false;
  }
  for (const std::string_view taken : {"None", "True", "False", "inf", "nan"}) {
    if (text == taken) return false;
  }
  return true;
}

void AppendEscaped(std::string& out, std::string_view bytes) {
  constexpr char kHex[] = "0123456789ABCDEF";
  out += '\'';
  std::size_t plain = 0;  // where what has not been copied begins
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (kBytes[byte].quoted) continue;
    out.append(bytes, plain, i - plain);
    plain = i + 1;
    out += '%';
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  out.append(bytes, plain);
  out += '\'';
}

}  // namespace

bool MayContinueValue(char next) {
  return kBytes[static_cast<unsigned char>(next)].bare ||
         std::string_view(".+'#<").find(next) != std::string_view::npos;
}

void AppendInt(std::string& out, std::int64_t value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void AppendBigInt(std::string& out, std::string_view digits) { out += digits; }

void AppendFloat(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "nan";
    return;
  }
  // As Python's repr: the shortest digits that give the value back, positional for exponents
  // -4..15.
  char digits[40];
  char* end =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::scientific).ptr;
  const char* const e = std::find(digits, end, 'e');
  if (e != end) {
    int exponent = 0;
    std::from_chars(e + (e[1] == '+' ? 2 : 1), end, exponent);
    if (exponent >= -4 && exponent < 16) {
      end = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed).ptr;
      out.append(digits, end);
      if (std::find(digits, end, '.') == end) out += ".0";
      return;
    }
  }
  out.append(digits, end);
}

void AppendBool(std::string& out, bool value) { out += value ? "True" : "False"; }

void AppendNone(std::string& out) { out += "None"; }

void AppendText(std::string& out, std::string_view utf8) {
  if (IsBare(utf8)) {
    out += utf8;
  } else {
    AppendEscaped(out, utf8);
  }
}

void AppendBytes(std::string& out, std::string_view bytes) {
  out += 'b';
  AppendEscaped(out, bytes);
}

}  // namespace smartcache
