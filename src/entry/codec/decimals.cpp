#include "entry/codec/decimals.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>

#include "entry/codec/columns.h"

namespace smartcache::codec {
namespace {

// Powers up to 10^22 are exact doubles.
constexpr std::array<double, kMaxFloatDecimals + 1> kPowers = [] {
  std::array<double, kMaxFloatDecimals + 1> powers{1};
  for (std::size_t i = 1; i < powers.size(); ++i) powers[i] = powers[i - 1] * 10;
  return powers;
}();
constexpr double kExactInts = 9007199254740992;  // 2^53

bool AsInt(double value, int decimals, std::int64_t& out) {
  const double scaled = std::nearbyint(value * kPowers[static_cast<std::size_t>(decimals)]);
  if (!(std::fabs(scaled) < kExactInts)) return false;  // nan too
  out = static_cast<std::int64_t>(scaled);
  return std::bit_cast<std::uint64_t>(FloatOfInt(out, decimals)) ==
         std::bit_cast<std::uint64_t>(value);
}

// The digits of "-12.50" as -1250 with 2 decimals; nullopt for what WriteDecimalOfInt would not
// give back.
std::optional<int> Parse(std::string_view text, std::int64_t& out) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  const std::size_t point = std::min(digits.find('.'), digits.size());
  const std::size_t decimals = point == digits.size() ? 0 : digits.size() - point - 1;
  const bool shaped = point > 0 && (point == 1 || digits[0] != '0') &&
                      (point == digits.size() || decimals > 0) && digits.size() <= kMaxDecimals;
  if (!shaped) return std::nullopt;
  std::int64_t value = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i == point) continue;
    if (digits[i] < '0' || digits[i] > '9') return std::nullopt;
    value = value * 10 + (digits[i] - '0');
  }
  if (negative && value == 0) return std::nullopt;
  out = negative ? -value : value;
  return static_cast<int>(decimals);
}

}  // namespace

double FloatOfInt(std::int64_t value, int decimals) {
  return static_cast<double>(value) / kPowers[static_cast<std::size_t>(decimals)];
}

std::optional<int> FloatsAsInts(std::span<const double> values, std::vector<std::int64_t>& out) {
  out.resize(values.size());
  int decimals = 0;
  std::size_t since = 0;  // values before have been converted with fewer decimals
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (AsInt(values[i], decimals, out[i])) continue;
    do {
      if (++decimals > kMaxFloatDecimals) return std::nullopt;
    } while (!AsInt(values[i], decimals, out[i]));
    since = i;
  }
  for (std::size_t i = 0; i < since; ++i) {
    if (!AsInt(values[i], decimals, out[i])) return std::nullopt;
  }
  return decimals;
}

std::optional<int> DecimalsAsInts(std::span<const std::string_view> texts,
                                  std::vector<std::int64_t>& out) {
  out.resize(texts.size());
  std::optional<int> decimals;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::optional<int> these = Parse(texts[i], out[i]);
    if (!these || (decimals && *these != *decimals)) return std::nullopt;
    decimals = these;
  }
  return decimals;
}

char* WriteDecimalOfInt(char* at, std::int64_t value, int decimals) {
  if (value < 0) *at++ = '-';
  const std::uint64_t magnitude =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  char digits[20];
  const char* const end = std::to_chars(digits, digits + sizeof digits, magnitude).ptr;
  const auto count = static_cast<int>(end - digits);
  const char* from = digits;
  if (count <= decimals) {
    *at++ = '0';
  } else {
    from = digits + (count - decimals);
    at = std::copy(static_cast<const char*>(digits), from, at);
  }
  if (decimals == 0) return at;
  *at++ = '.';
  at = std::fill_n(at, std::max(decimals - count, 0), '0');
  return std::copy(from, end, at);
}

}  // namespace smartcache::codec
