#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "entry/codec/civil.h"
#include "entry/codec/columns.h"
#include "entry/codec/decimals.h"

namespace smartcache::codec {
namespace {

using Bytes = std::vector<std::uint8_t>;

RowsHeader HeaderOf(std::size_t columns, std::size_t rows) {
  RowsHeader header;
  header.flags = 1;
  header.label = {"atlas.City"};
  header.alias = {"default"};
  for (std::size_t i = 0; i < columns; ++i) header.fields.push_back({"field"});
  header.count = static_cast<std::uint32_t>(rows);
  return header;
}

// A block of one column. The reader is left before the column's data.
struct OneColumn {
  template <class Write>
  OneColumn(std::size_t rows, Write write) {
    Writer writer;
    writer.WriteRows(HeaderOf(1, rows));
    write(writer);
    payload = writer.Take();
  }
  Reader Read(ColumnType expected) {
    Reader reader(payload);
    reader.ReadRows();
    EXPECT_EQ(reader.ReadColumn(nulls), expected);
    return reader;
  }
  std::string payload;
  Bytes nulls;
};

// nulls: every third row.
Bytes SomeNulls(std::size_t rows) {
  Bytes nulls(rows);
  for (std::size_t i = 0; i < rows; ++i) nulls[i] = i % 3 == 1;
  return nulls;
}

std::size_t CheckInts(const std::vector<std::int64_t>& values, const Bytes& nulls = {},
                      ColumnType type = ColumnType::kInt) {
  OneColumn column(values.size(), [&](Writer& w) { w.WriteIntColumn(type, values, nulls); });
  Reader reader = column.Read(type);
  std::vector<std::int64_t> out;
  reader.ReadInts(out);
  EXPECT_EQ(column.nulls, nulls);
  EXPECT_EQ(out.size(), values.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i], nulls.empty() || nulls[i] == 0 ? values[i] : 0) << i;
  }
  EXPECT_EQ(reader.Next(), Type::kEnd);
  return column.payload.size();
}

std::size_t CheckFloats(const std::vector<double>& values, const Bytes& nulls = {}) {
  OneColumn column(values.size(), [&](Writer& w) { w.WriteFloatColumn(values, nulls); });
  Reader reader = column.Read(ColumnType::kFloat);
  std::vector<double> out;
  reader.ReadFloats(out);
  EXPECT_EQ(out.size(), values.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double expected = nulls.empty() || nulls[i] == 0 ? values[i] : 0;
    EXPECT_EQ(std::bit_cast<std::uint64_t>(out[i]), std::bit_cast<std::uint64_t>(expected)) << i;
  }
  EXPECT_EQ(reader.Next(), Type::kEnd);
  return column.payload.size();
}

std::size_t CheckTexts(const std::vector<std::string>& texts, const Bytes& nulls = {},
                       ColumnType type = ColumnType::kText) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  OneColumn column(texts.size(), [&](Writer& w) { w.WriteTextColumn(type, views, nulls); });
  Reader reader = column.Read(type);
  Reader::Texts out;
  reader.ReadTexts(out);
  EXPECT_EQ(out.codes.empty() ? out.words.size() : out.codes.size(), texts.size());
  for (std::size_t i = 0; reader.ok() && i < texts.size(); ++i) {
    if (!nulls.empty() && nulls[i] != 0) continue;
    EXPECT_EQ(out.codes.empty() ? out.words[i] : out.words[out.codes[i]], texts[i]) << i;
  }
  EXPECT_EQ(reader.Next(), Type::kEnd);
  return column.payload.size();
}

TEST(IntColumn, RoundTripsExtremes) {
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  CheckInts({kLeast, kMost, 0, -1, 1, kMost, kLeast});
  CheckInts({kLeast});
  CheckInts({kMost, kMost});
  CheckInts({kLeast, kLeast, kMost});
}

TEST(IntColumn, TakesNothingARowForSequencesAndConstants) {
  std::vector<std::int64_t> ids(1000);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = 5000 + static_cast<std::int64_t>(i);
  EXPECT_LT(CheckInts(ids), 50u);
  EXPECT_LT(CheckInts(std::vector<std::int64_t>(1000, -7)), 50u);
}

TEST(IntColumn, ChoosesWidthsOfAllSizes) {
  std::mt19937_64 random(1);
  for (int bits = 0; bits < 64; ++bits) {
    std::vector<std::int64_t> values(100);
    for (auto& value : values) value = static_cast<std::int64_t>(random() >> (63 - bits) >> 1) - 3;
    CheckInts(values);
    CheckInts(values, SomeNulls(values.size()));
  }
}

TEST(IntColumn, PrefersVarintsWhereOneValueStandsOut) {
  std::vector<std::int64_t> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<std::int64_t>(i * 37 % 60);
  }
  values[500] = INT64_MAX;
  EXPECT_LT(CheckInts(values), 1100u);
}

TEST(IntColumn, RefusesMomentsThatDoNotExist) {
  const auto refuses = [](ColumnType type, std::int64_t value) {
    const std::vector<std::int64_t> values{value};
    OneColumn column(1, [&](Writer& w) { w.WriteIntColumn(type, values, {}); });
    Reader reader = column.Read(type);
    std::vector<std::int64_t> out;
    reader.ReadInts(out);
    return !reader.ok() && out.empty();
  };
  EXPECT_TRUE(refuses(ColumnType::kDate, kMaxDays + 1));
  EXPECT_TRUE(refuses(ColumnType::kTime, kMicrosPerDay));
  EXPECT_TRUE(refuses(ColumnType::kDateTime, INT64_MAX));
  EXPECT_TRUE(refuses(ColumnType::kDateTimeUtc, INT64_MIN));
  CheckInts({kMinDays, kMaxDays}, {}, ColumnType::kDate);
  CheckInts({(kMaxDays + 1) * kMicrosPerDay - 1}, {}, ColumnType::kDateTime);
  CheckInts({INT64_MIN, INT64_MAX}, {}, ColumnType::kTimeDelta);
}

TEST(FloatColumn, RoundTripsBitByBit) {
  const double inf = std::numeric_limits<double>::infinity();
  CheckFloats({0.0, -0.0, inf, -inf, std::nan(""), std::numeric_limits<double>::denorm_min(),
               std::numeric_limits<double>::max(), 0.1, 1e22, 9007199254740993.0});
  CheckFloats({0.1, -0.0});
  CheckFloats({1.0, 0.5, 0.25});           // earlier ones are scaled as later ones need it
  CheckFloats({9007199254740991.0, 0.5});  // which is not always possible
  std::mt19937_64 random(2);
  std::vector<double> values(1000);
  for (auto& value : values) value = std::bit_cast<double>(random());
  CheckFloats(values);
  CheckFloats(values, SomeNulls(values.size()));
}

TEST(FloatColumn, TakesHalfForNumbersWithFewDecimals) {
  std::vector<double> coordinates(1000);
  std::mt19937_64 random(3);
  for (auto& value : coordinates) {
    value =
        static_cast<double>(static_cast<std::int64_t>(random() % 36'000'000) - 18'000'000) / 1e5;
  }
  EXPECT_LT(CheckFloats(coordinates), 4100u);
  CheckFloats(coordinates, SomeNulls(coordinates.size()));
}

TEST(TextColumn, RoundTripsAllEncodings) {
  std::vector<std::string> different;
  std::vector<std::string> few;
  for (int i = 0; i < 1000; ++i) {
    different.push_back(std::string(static_cast<std::size_t>(i % 200), 'a') + std::to_string(i));
    few.push_back("country " + std::to_string(i % 250));
  }
  CheckTexts(different);
  CheckTexts(different, SomeNulls(1000));
  EXPECT_LT(CheckTexts(few), 1000u + 250 * 13);
  CheckTexts(few, SomeNulls(1000));
  EXPECT_LT(CheckTexts(std::vector<std::string>(1000, "one")), 60u);
  CheckTexts(std::vector<std::string>(1000, "one"), SomeNulls(1000));
  CheckTexts({"", std::string("\0", 1), "\xed\xb0\x80"});
}

TEST(TextColumn, CountsTo255WordsAndNoFurther) {
  for (const int words : {254, 255, 256, 257}) {
    std::vector<std::string> texts;
    for (int i = 0; i < 1000; ++i) texts.push_back(std::to_string(i % words));
    CheckTexts(texts);
  }
}

TEST(TextColumn, RoundTripsDecimals) {
  const auto check = [](const std::vector<std::string>& texts) {
    return CheckTexts(texts, {}, ColumnType::kDecimal);
  };
  std::vector<std::string> prices;
  for (int i = 0; i < 1000; ++i) {
    prices.push_back(std::to_string(i * 7919 % 100) + "." + std::to_string(10 + i % 90));
  }
  EXPECT_LT(check(prices), 2100u);
  CheckTexts(prices, SomeNulls(1000), ColumnType::kDecimal);
  check({"0.00", "-0.01", "-1.00", "12345678901234.56"});
  check({"-0.00"});
  check({"1.0", "1.00"});
  check({"00.10", "1E+5", "NaN", "sNaN", "-Infinity", "+1", "", ".5", "5.", "-", "1.2.3"});
  check({"999999999999999999999999999.99"});
  check({"0.00000000000000001", "5.00000000000000000"});
}

TEST(TextColumn, RefusesUuidsOfAnotherSize) {
  CheckTexts({std::string(16, 'u'), std::string(16, 'v')}, {}, ColumnType::kUuid);
  const std::vector<std::string_view> values{"short"};
  OneColumn column(1, [&](Writer& w) { w.WriteTextColumn(ColumnType::kUuid, values, {}); });
  Reader reader = column.Read(ColumnType::kUuid);
  Reader::Texts out;
  reader.ReadTexts(out);
  EXPECT_FALSE(reader.ok());
  EXPECT_TRUE(out.words.empty());
}

// Else the code 0 of a null row would be the number of no word.
TEST(TextColumn, RefusesCodesWithoutWords) {
  const std::vector<std::string_view> values{"a", "a", "b", "b", "b"};
  OneColumn column(5, [&](Writer& w) { w.WriteTextColumn(ColumnType::kText, values, {}); });
  std::string& payload = column.payload;
  const std::size_t head = payload.size() - 11;  // head, count, 2 lengths, 2 letters, 5 codes
  ASSERT_EQ(payload[head],
            static_cast<char>(ColumnHead(ColumnType::kText, Encoding::kWords, false)));
  payload.resize(head);
  payload += static_cast<char>(ColumnHead(ColumnType::kText, Encoding::kWords, true));
  payload += '\x1f';                // all rows are null
  payload += std::string(1, '\0');  // no words
  Reader reader = column.Read(ColumnType::kText);
  Reader::Texts out;
  reader.ReadTexts(out);
  EXPECT_FALSE(reader.ok());
  EXPECT_TRUE(out.codes.empty());
}

TEST(BoolColumn, RoundTrips) {
  for (const std::size_t rows : {1u, 7u, 8u, 9u, 1000u}) {
    Bytes values(rows);
    for (std::size_t i = 0; i < rows; ++i) values[i] = i % 5 < 2;
    for (const Bytes& nulls : {Bytes{}, SomeNulls(rows)}) {
      OneColumn column(rows, [&](Writer& w) { w.WriteBoolColumn(values, nulls); });
      Reader reader = column.Read(ColumnType::kBool);
      Bytes out;
      reader.ReadBools(out);
      ASSERT_EQ(out.size(), rows);
      for (std::size_t i = 0; i < rows; ++i) {
        EXPECT_EQ(out[i], nulls.empty() || nulls[i] == 0 ? values[i] : 0);
      }
      EXPECT_EQ(reader.Next(), Type::kEnd);
    }
  }
}

TEST(Rows, RoundTripsABlockWithNestedOnes) {
  Writer w;
  RowsHeader cities = HeaderOf(2, 3);
  cities.related = {{"country"}, {"notes"}};
  w.WriteRows(cities);
  const std::vector<std::int64_t> ids{1, 2, 3};
  w.WriteIntColumn(ColumnType::kInt, ids, {});
  w.WriteNullColumn();
  const Bytes second_null{0, 1, 0};
  w.WriteSpreadColumn(second_null);
  w.WriteRows(HeaderOf(1, 2));
  w.WriteIntColumn(ColumnType::kInt, std::span(ids).first(2), {});
  w.WriteValueColumn(second_null);
  w.WriteText("x");
  w.WriteList(1);
  w.WriteNone();
  const std::string payload = w.Take();

  Reader r(payload);
  ASSERT_EQ(r.Next(), Type::kRows);
  const RowsHeader header = r.ReadRows();
  EXPECT_EQ(header.flags, 1);
  EXPECT_EQ(header.label.bytes, "atlas.City");
  EXPECT_EQ(header.alias.bytes, "default");
  ASSERT_EQ(header.fields.size(), 2u);
  ASSERT_EQ(header.related.size(), 2u);
  EXPECT_EQ(header.related[1].bytes, "notes");
  EXPECT_EQ(header.count, 3u);
  Bytes nulls;
  std::vector<std::int64_t> ints;
  EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kInt);
  r.ReadInts(ints);
  EXPECT_EQ(ints, ids);
  EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kNull);
  EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kSpread);
  EXPECT_EQ(nulls, second_null);
  const RowsHeader inner = r.ReadRows();
  EXPECT_EQ(inner.count, 2u);
  EXPECT_EQ(inner.label.index, header.label.index);
  EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kInt);
  r.ReadInts(ints);
  EXPECT_EQ(ints.size(), 2u);
  EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kValues);
  EXPECT_EQ(r.ReadText().bytes, "x");
  EXPECT_EQ(r.ReadCount(), 1u);
  r.ReadNone();
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Rows, AColumnWithoutValuesIsNull) {
  const Bytes all_null{1, 1};
  const std::vector<std::int64_t> ints{1, 2};
  OneColumn column(2, [&](Writer& w) { w.WriteIntColumn(ColumnType::kInt, ints, all_null); });
  EXPECT_EQ(column.Read(ColumnType::kNull).Next(), Type::kEnd);
  OneColumn empty(0, [&](Writer& w) { w.WriteTextColumn(ColumnType::kText, {}, {}); });
  EXPECT_EQ(empty.Read(ColumnType::kNull).Next(), Type::kEnd);
}

TEST(Rows, WriterRefusesAColumnOfAnotherLengthOrKind) {
  const std::vector<std::int64_t> two{1, 2};
  const auto fails = [](std::size_t rows, auto write) {
    return OneColumn(rows, write).payload.empty();
  };
  EXPECT_TRUE(fails(3, [&](Writer& w) { w.WriteIntColumn(ColumnType::kInt, two, {}); }));
  EXPECT_TRUE(fails(2, [&](Writer& w) { w.WriteIntColumn(ColumnType::kInt, two, Bytes{0}); }));
  EXPECT_TRUE(fails(2, [&](Writer& w) { w.WriteIntColumn(ColumnType::kText, two, {}); }));
  EXPECT_TRUE(fails(2, [&](Writer& w) { w.WriteInt(1); }));
  EXPECT_TRUE(fails(2, [&](Writer& w) {
    w.WriteValueColumn({});
    w.WriteNone();
  }));
  EXPECT_FALSE(fails(2, [&](Writer& w) { w.WriteIntColumn(ColumnType::kInt, two, {}); }));
}

TEST(Rows, StayWithinTheFreeCellsHoweverManyAreConstant) {
  const std::size_t rows = kFreeCells / 2;
  Writer w;
  w.WriteRows(HeaderOf(4, rows));
  const std::vector<std::int64_t> same(rows, 5);
  const std::vector<std::string_view> words(rows, "word");
  w.WriteIntColumn(ColumnType::kInt, same, {});
  w.WriteTextColumn(ColumnType::kText, words, {});
  w.WriteIntColumn(ColumnType::kInt, same, {});
  w.WriteNullColumn();
  const std::string payload = w.Take();
  EXPECT_GT(payload.size(), rows);  // the third column had to pay

  Reader r(payload);
  EXPECT_EQ(r.ReadRows().count, rows);
  Bytes nulls;
  std::vector<std::int64_t> ints;
  Reader::Texts texts;
  r.ReadColumn(nulls);
  r.ReadInts(ints);
  EXPECT_EQ(ints, same);
  r.ReadColumn(nulls);
  r.ReadTexts(texts);
  EXPECT_EQ(texts.codes.size(), rows);
  r.ReadColumn(nulls);
  r.ReadInts(ints);
  EXPECT_EQ(ints, same);
  EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kValues);
  EXPECT_EQ(nulls, Bytes(rows, 1));
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Rows, DecimalsPayForTheirCellsToo) {
  const std::size_t rows = kFreeCells / 2 + 1;
  Writer w;
  w.WriteRows(HeaderOf(3, rows));
  const std::vector<double> same(rows, 0.5);
  for (int i = 0; i < 3; ++i) w.WriteFloatColumn(same, {});
  const std::string payload = w.Take();
  Reader r(payload);
  r.ReadRows();
  for (int i = 0; i < 3; ++i) {
    Bytes nulls;
    std::vector<double> floats;
    EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kFloat);
    r.ReadFloats(floats);
    EXPECT_EQ(floats, same);
  }
  EXPECT_EQ(r.Next(), Type::kEnd);
}

// Two million cells out of a few bytes: by hand, since no writer writes them.
TEST(Rows, ReaderRefusesConstantsBeyondTheFreeCells) {
  const std::vector<std::int64_t> one{5};
  OneColumn column(1, [&](Writer& w) { w.WriteIntColumn(ColumnType::kInt, one, {}); });
  const auto with_rows = [&](const char* varint) {
    std::string payload = column.payload;
    payload.replace(payload.size() - 3, 1, varint);  // before head and constant
    return payload;
  };
  const std::string many = with_rows("\x80\x89\x7a");  // 2,000,000 and more
  EXPECT_EQ(Reader(many).ReadRows().count, 0u);
  const std::string all = with_rows("\x80\x80\x10");  // as many as there are free cells
  Reader r(all);
  EXPECT_EQ(r.ReadRows().count, kFreeCells);
  Bytes nulls;
  std::vector<std::int64_t> ints;
  r.ReadColumn(nulls);
  r.ReadInts(ints);
  EXPECT_EQ(ints.size(), kFreeCells);
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Rows, ReaderRefusesMoreRowsThanTheInputCanHold) {
  Writer w;
  w.WriteRows(HeaderOf(0, 0));
  std::string payload = w.Take();
  payload.pop_back();
  payload += "\xff\xff\xff\xff\x0f";
  Reader r(payload);
  EXPECT_EQ(r.ReadRows().count, 0u);
  EXPECT_FALSE(r.ok());
}

TEST(Rows, ReaderRefusesCallsOutOfOrder) {
  const std::vector<std::int64_t> ids{1, 2};
  OneColumn column(2, [&](Writer& w) { w.WriteIntColumn(ColumnType::kInt, ids, {}); });
  std::vector<std::int64_t> ints;
  std::vector<double> floats;
  Bytes nulls;
  {
    Reader r(column.payload);
    r.ReadRows();
    r.ReadInts(ints);  // no column has begun
    EXPECT_FALSE(r.ok());
  }
  {
    Reader r = column.Read(ColumnType::kInt);
    r.ReadFloats(floats);  // another type
    EXPECT_FALSE(r.ok());
  }
  {
    Writer w;
    w.WriteRows(HeaderOf(2, 2));
    w.WriteIntColumn(ColumnType::kInt, ids, {});
    w.WriteIntColumn(ColumnType::kInt, ids, {});
    const std::string payload = w.Take();
    Reader r(payload);
    r.ReadRows();
    EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kInt);
    EXPECT_EQ(r.ReadColumn(nulls), ColumnType::kInvalid);  // data not read
    EXPECT_FALSE(r.ok());
  }
  {
    Reader r(column.payload);
    r.ReadRows();
    r.ReadInt();  // a value where a column is due
    EXPECT_FALSE(r.ok());
  }
}

}  // namespace
}  // namespace smartcache::codec
