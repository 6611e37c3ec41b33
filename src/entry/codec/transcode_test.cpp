#include "entry/codec/transcode.h"

#include <gtest/gtest.h>

#include <random>

namespace smartcache::codec {
namespace {

// Every type of value and column, most encodings.
std::string RichPayload() {
  constexpr std::size_t kRows = 12;
  std::vector<std::uint8_t> nulls(kRows);
  nulls[3] = nulls[11] = 1;
  std::vector<std::int64_t> ids(kRows);
  std::vector<std::int64_t> wide(kRows);
  std::vector<double> prices(kRows);
  std::vector<double> floats(kRows);
  std::vector<std::uint8_t> flags(kRows);
  std::vector<std::string> names(kRows);
  for (std::size_t i = 0; i < kRows; ++i) {
    ids[i] = static_cast<std::int64_t>(100 + i);
    wide[i] = static_cast<std::int64_t>(i * i * i) * (i % 2 == 0 ? 1'000'003 : -1);
    prices[i] = static_cast<double>(i) / 4;
    floats[i] = 1.0 / static_cast<double>(i + 3);
    flags[i] = i % 2;
    names[i] = "name " + std::to_string(i);
  }
  const std::vector<std::string_view> texts(names.begin(), names.end());
  const std::vector<std::string_view> codes{"de", "fr", "de", "de", "fr", "fr",
                                            "de", "de", "de", "de", "de", "fr"};
  const std::vector<std::string_view> decimals(kRows, "12.50");
  const std::vector<std::string_view> uuids(kRows, "0123456789abcdef");
  RowsHeader header;
  header.label = {"atlas.City"};
  header.fields.assign(11, {"field"});
  header.related.assign(2, {"country"});
  header.count = kRows;

  Writer w;
  w.WriteDict(2);
  w.WriteText("rows");
  w.WriteRows(header);
  w.WriteIntColumn(ColumnType::kInt, ids, {});
  w.WriteIntColumn(ColumnType::kDateTimeUtc, wide, nulls);
  w.WriteIntColumn(ColumnType::kDate, ids, nulls);
  w.WriteFloatColumn(prices, nulls);
  w.WriteFloatColumn(floats, {});
  w.WriteBoolColumn(flags, nulls);
  w.WriteTextColumn(ColumnType::kText, texts, nulls);
  w.WriteTextColumn(ColumnType::kText, codes, {});
  w.WriteTextColumn(ColumnType::kDecimal, decimals, nulls);
  w.WriteTextColumn(ColumnType::kUuid, uuids, {});
  w.WriteNullColumn();
  w.WriteSpreadColumn(nulls);
  w.WriteList(kRows - 2);
  for (std::size_t i = 2; i < kRows; ++i) w.WriteInt(-5);
  w.WriteValueColumn(nulls);
  for (std::size_t i = 2; i < kRows; ++i) w.WriteText("rows");
  w.WriteText("others");
  w.WriteTuple(12);
  w.WriteNone();
  w.WriteBool(true);
  w.WriteInt(1000);
  w.WriteBigInt(true, "123456789");
  w.WriteFloat(0.1);
  w.WriteBytes("bytes");
  w.WriteDateTime({5, true, {ZoneKind::kNamed, 0, {"Europe/Berlin"}}});
  w.WriteTime({5, false, {ZoneKind::kOffset, 60'000'000, {}}});
  w.WriteTimeDelta({-1, 2, 3});
  w.WriteDecimal("1.5");
  w.WriteTagged(3);
  w.WriteUuid({});
  w.WriteBackRef(1);
  return w.Take();
}

TEST(Transcoder, GivesBackWhatTheWriterWrote) {
  const std::string payload = RichPayload();
  ASSERT_FALSE(payload.empty());
  EXPECT_EQ(Transcoder(payload).Run(), payload);
}

TEST(Reader, RefusesEveryTruncation) {
  const std::string payload = RichPayload();
  for (std::size_t size = 0; size < payload.size(); ++size) {
    const std::string cut = payload.substr(0, size);  // its own memory: reading beyond is seen
    ASSERT_EQ(Transcoder(cut).Run(), "") << size;
  }
}

// Under the sanitizers: no fault, whatever the bytes.
TEST(Reader, SurvivesEveryFlippedBitAndRandomChanges) {
  const std::string payload = RichPayload();
  std::size_t accepted = 0;
  const auto visit = [&](const std::string& changed) {
    const std::string once = Transcoder(changed).Run();
    if (once.empty()) return;
    ++accepted;
    ASSERT_EQ(Transcoder(once).Run(), once);
  };
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    std::string flipped = payload;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    visit(flipped);
  }
  std::mt19937 random(5);
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = payload;
    for (std::size_t times = 1 + random() % 3; times-- > 0;) {
      const std::size_t at = 1 + random() % (changed.size() - 1);
      if (random() % 2 == 0) {
        changed[at] = static_cast<char>(random());
      } else {
        changed.insert(at, payload, random() % payload.size(), random() % 10);
      }
    }
    visit(changed);
  }
  EXPECT_GT(accepted, 1000u);  // changes in data, not in structure
}

}  // namespace
}  // namespace smartcache::codec
