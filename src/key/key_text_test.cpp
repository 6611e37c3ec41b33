#include "key/key_text.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace smartcache {
namespace {

using std::string_view_literals::operator""sv;

template <class... Values>
std::string Text(void (*append)(std::string&, Values...), Values... values) {
  std::string out = ">";
  append(out, values...);
  return out.substr(1);
}

TEST(KeyText, IntegersAreBare) {
  EXPECT_EQ(Text(AppendInt, std::int64_t{5}), "5");
  EXPECT_EQ(Text(AppendInt, std::int64_t{-5}), "-5");
  EXPECT_EQ(Text(AppendInt, INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(Text(AppendBigInt, "-99999999999999999999"sv), "-99999999999999999999");
}

TEST(KeyText, ConstantsAreAsInPython) {
  EXPECT_EQ(Text(AppendBool, true), "True");
  EXPECT_EQ(Text(AppendBool, false), "False");
  EXPECT_EQ(Text(AppendNone), "None");
}

TEST(KeyText, FloatsAreAsPythonsRepr) {
  const std::pair<double, std::string_view> cases[] = {
      {0.1, "0.1"},
      {1.0, "1.0"},
      {100000.0, "100000.0"},
      {1e15, "1000000000000000.0"},
      {1e16, "1e+16"},
      {123456789012345680.0, "1.2345678901234568e+17"},
      {1e-4, "0.0001"},
      {1e-5, "1e-05"},
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {1.5e300, "1.5e+300"},
      {5e-324, "5e-324"},
      {0.1 + 0.2, "0.30000000000000004"},
      {-1234.5, "-1234.5"},
      {std::numeric_limits<double>::infinity(), "inf"},
      {-std::numeric_limits<double>::infinity(), "-inf"},
      {std::nan(""), "nan"},
      {-std::nan(""), "nan"},
  };
  for (const auto& [value, text] : cases) EXPECT_EQ(Text(AppendFloat, value), text);
}

TEST(KeyText, FloatsKeepEveryBit) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t bits = random();
    double value = 0;
    static_assert(sizeof value == sizeof bits);
    std::memcpy(&value, &bits, sizeof value);
    if (std::isnan(value)) continue;
    const std::string text = Text(AppendFloat, value);
    double back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    std::uint64_t back_bits = 0;
    std::memcpy(&back_bits, &back, sizeof back);
    EXPECT_EQ(back_bits, bits) << text;
    EXPECT_NE(text.find_first_of(".en"), std::string::npos) << text;
  }
}

TEST(KeyText, NamesAreBareAndAllElseIsQuoted) {
  for (const std::string_view bare : {"a", "_", "user_5-b", "Inf", "none", "b", "e5"}) {
    EXPECT_EQ(Text(AppendText, std::string_view(bare)), bare);
  }
  const std::pair<std::string_view, std::string_view> quoted[] = {
      {"", "''"},
      {"5", "'5'"},
      {"-a", "'-a'"},
      {"None", "'None'"},
      {"True", "'True'"},
      {"False", "'False'"},
      {"inf", "'inf'"},
      {"nan", "'nan'"},
      {"a b", "'a b'"},
      {"me@here.org/x+y", "'me@here.org/x+y'"},
      {"it's 100%", "'it%27s 100%25'"},
      {"a:b,c", "'a%3Ab%2Cc'"},
      {"\xc3\xa9", "'%C3%A9'"},
      {"\xed\xa0\x80", "'%ED%A0%80'"},
      {"\n\0~"sv, "'%0A%00%7E'"},
  };
  for (const auto& [text, expected] : quoted) {
    EXPECT_EQ(Text(AppendText, std::string_view(text)), expected);
  }
}

TEST(KeyText, BytesAreNoText) {
  EXPECT_EQ(Text(AppendBytes, "ab"sv), "b'ab'");
  EXPECT_EQ(Text(AppendBytes, "\xff'"sv), "b'%FF%27'");
}

TEST(KeyText, KnowsWhatMayContinueAValue) {
  for (const char c : "azAZ09_-+.'#<"sv) EXPECT_TRUE(MayContinueValue(c)) << c;
  for (const char c : ":,)]}|/ =~(>[{\"%@\xc3"sv) EXPECT_FALSE(MayContinueValue(c)) << c;
}

}  // namespace
}  // namespace smartcache
