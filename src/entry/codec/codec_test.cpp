#include "entry/codec/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "entry/codec/civil.h"

namespace smartcache::codec {
namespace {

using std::string_view_literals::operator""sv;

// The payload of what `write` writes.
template <class Write>
std::string Payload(Write write) {
  Writer writer;
  write(writer);
  return writer.Take();
}

TEST(Codec, RoundTripsIntegersOfEverySize) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const std::int64_t near : {-1, 0, 1}) {
      for (const std::int64_t sign : {1, -1}) {
        const auto value = static_cast<std::int64_t>((std::uint64_t{1} << bits) *
                                                         static_cast<std::uint64_t>(sign) +
                                                     static_cast<std::uint64_t>(near));
        const std::string payload = Payload([&](Writer& w) { w.WriteInt(value); });
        Reader reader(payload);
        ASSERT_EQ(reader.Next(), Type::kInt);
        EXPECT_EQ(reader.ReadInt(), value);
        EXPECT_EQ(reader.Next(), Type::kEnd);
      }
    }
  }
}

TEST(Codec, TakesOneByteForSmallIntegersAndTwoForTheFormat) {
  EXPECT_EQ(Payload([](Writer& w) { w.WriteInt(63); }).size(), 2u);
  EXPECT_EQ(Payload([](Writer& w) { w.WriteInt(64); }).size(), 4u);
}

TEST(Codec, RoundTripsScalars) {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::uint8_t>(i * 17);
  const std::string long_text(1000, 'x');
  const std::string payload = Payload([&](Writer& w) {
    w.WriteList(14);
    w.WriteNone();
    w.WriteBool(true);
    w.WriteBool(false);
    w.WriteFloat(-0.0);
    w.WriteFloat(std::numeric_limits<double>::quiet_NaN());
    w.WriteBigInt(true, "\x01\x02\x00\x00\x00\x00\x00\x00\x01"sv);
    w.WriteText("");
    w.WriteText("\xed\xa0\x80");  // a lone surrogate
    w.WriteText(long_text);
    w.WriteBytes("\x00\xff"sv);
    w.WriteDecimal("-1E+3");
    w.WriteUuid(uuid);
    w.WriteBackRef(300);
    w.WriteTagged(7);
    w.WriteInt(1);
  });
  Reader r(payload);
  ASSERT_EQ(r.ReadCount(), 14u);
  EXPECT_EQ(r.Next(), Type::kNone);
  r.ReadNone();
  EXPECT_TRUE(r.ReadBool());
  EXPECT_FALSE(r.ReadBool());
  EXPECT_TRUE(std::signbit(r.ReadFloat()));
  EXPECT_TRUE(std::isnan(r.ReadFloat()));
  const BigInt big = r.ReadBigInt();
  EXPECT_TRUE(big.negative);
  EXPECT_EQ(big.magnitude, "\x01\x02\x00\x00\x00\x00\x00\x00\x01"sv);
  EXPECT_EQ(r.ReadText().bytes, "");
  EXPECT_EQ(r.ReadText().bytes, "\xed\xa0\x80");
  EXPECT_EQ(r.ReadText().bytes, long_text);
  EXPECT_EQ(r.ReadBytes(), "\x00\xff"sv);
  EXPECT_EQ(r.ReadDecimal(), "-1E+3");
  EXPECT_EQ(r.ReadUuid(), uuid);
  EXPECT_EQ(r.ReadBackRef(), 300u);
  EXPECT_EQ(r.ReadTagged(), 7);
  EXPECT_EQ(r.ReadInt(), 1);
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Codec, RoundTripsTimes) {
  const std::int64_t last = (kMaxDays + 1) * kMicrosPerDay - 1;
  const std::string payload = Payload([&](Writer& w) {
    w.WriteTuple(6);
    w.WriteDate(kMinDays);
    w.WriteDateTime({last, true, {ZoneKind::kUtc, 0, {}}});
    w.WriteDateTime({-1, false, {ZoneKind::kOffset, -3'600'000'001, {}}});
    w.WriteDateTime({kMinDays * kMicrosPerDay, false, {ZoneKind::kNamed, 0, {"Europe/Berlin"}}});
    w.WriteTime({kMicrosPerDay - 1, true, {}});
    w.WriteTimeDelta({-999'999'999, 86'399, 999'999});
  });
  Reader r(payload);
  ASSERT_EQ(r.ReadCount(), 6u);
  EXPECT_EQ(r.ReadDate(), kMinDays);
  DateTime value = r.ReadDateTime();
  EXPECT_EQ(value.micros, last);
  EXPECT_TRUE(value.fold);
  EXPECT_EQ(value.zone.kind, ZoneKind::kUtc);
  value = r.ReadDateTime();
  EXPECT_EQ(value.micros, -1);
  EXPECT_FALSE(value.fold);
  EXPECT_EQ(value.zone.offset_us, -3'600'000'001);
  value = r.ReadDateTime();
  EXPECT_EQ(value.micros, kMinDays * kMicrosPerDay);
  EXPECT_EQ(value.zone.name.bytes, "Europe/Berlin");
  const Time time = r.ReadTime();
  EXPECT_EQ(time.micros, kMicrosPerDay - 1);
  EXPECT_TRUE(time.fold);
  const TimeDelta delta = r.ReadTimeDelta();
  EXPECT_EQ(delta.days, -999'999'999);
  EXPECT_EQ(delta.seconds, 86'399);
  EXPECT_EQ(delta.micros, 999'999);
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Codec, RefusesTimesThatDoNotExist) {
  const auto failed = [](auto write, auto read) {
    const std::string payload = Payload(write);
    EXPECT_FALSE(payload.empty());
    Reader reader(payload);
    read(reader);
    return !reader.ok();
  };
  const auto read_datetime = [](Reader& r) { r.ReadDateTime(); };
  EXPECT_TRUE(
      failed([](Writer& w) { w.WriteDate(kMaxDays + 1); }, [](Reader& r) { r.ReadDate(); }));
  EXPECT_TRUE(failed([](Writer& w) { w.WriteDateTime({INT64_MAX, false, {}}); }, read_datetime));
  EXPECT_TRUE(failed([](Writer& w) { w.WriteDateTime({INT64_MIN, false, {}}); }, read_datetime));
  EXPECT_TRUE(
      failed([](Writer& w) { w.WriteDateTime({0, false, {ZoneKind::kOffset, kMicrosPerDay, {}}}); },
             read_datetime));
  EXPECT_TRUE(
      failed([](Writer& w) { w.WriteTime({-1, false, {}}); }, [](Reader& r) { r.ReadTime(); }));
  EXPECT_TRUE(failed([](Writer& w) { w.WriteTimeDelta({0, 86'400, 0}); },
                     [](Reader& r) { r.ReadTimeDelta(); }));
}

TEST(Codec, WritesARepeatedShortTextOnce) {
  const auto write = [](Writer& w) {
    w.WriteList(1000);
    for (int i = 0; i < 1000; ++i) w.WriteText(i % 2 == 0 ? "status" : "name");
  };
  const std::string payload = Payload(write);
  EXPECT_LT(payload.size(), 1000u + 20);
  Reader r(payload);
  r.ReadCount();
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const Text text = r.ReadText();
    ASSERT_EQ(text.bytes, i % 2 == 0 ? "status" : "name");
    ASSERT_EQ(text.index, i % 2);
  }
  EXPECT_EQ(r.shared_texts(), 2u);
}

TEST(Codec, KeepsTextsRightBeyondTheTableOfSharedOnes) {
  const auto text_of = [](int i) { return "text " + std::to_string(i * 7919 % 3001); };
  const std::string payload = Payload([&](Writer& w) {
    w.WriteList(20'000);
    for (int i = 0; i < 20'000; ++i) w.WriteText(text_of(i));
  });
  Reader r(payload);
  ASSERT_EQ(r.ReadCount(), 20'000u);
  for (int i = 0; i < 20'000; ++i) ASSERT_EQ(r.ReadText().bytes, text_of(i));
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Codec, RoundTripsNestedContainers) {
  const std::string payload = Payload([](Writer& w) {
    w.WriteDict(2);
    w.WriteText("a");
    w.WriteSet(0);
    w.WriteText("b");
    w.WriteFrozenSet(1);
    w.WriteTuple(2);
    w.WriteInt(1);
    w.WriteList(0);
  });
  Reader r(payload);
  ASSERT_EQ(r.Next(), Type::kDict);
  ASSERT_EQ(r.ReadCount(), 2u);
  r.ReadText();
  ASSERT_EQ(r.Next(), Type::kSet);
  ASSERT_EQ(r.ReadCount(), 0u);
  r.ReadText();
  ASSERT_EQ(r.Next(), Type::kFrozenSet);
  ASSERT_EQ(r.ReadCount(), 1u);
  ASSERT_EQ(r.Next(), Type::kTuple);
  ASSERT_EQ(r.ReadCount(), 2u);
  r.ReadInt();
  ASSERT_EQ(r.Next(), Type::kList);
  ASSERT_EQ(r.ReadCount(), 0u);
  EXPECT_EQ(r.Next(), Type::kEnd);
}

TEST(Codec, LimitsDepth) {
  const auto nested = [](std::size_t depth) {
    Writer w;
    for (std::size_t i = 0; i < depth; ++i) w.WriteList(1);
    w.WriteNone();
    return w.Take();
  };
  const std::string deepest = nested(kMaxDepth);
  Reader fits(deepest);
  for (std::size_t i = 0; i < kMaxDepth; ++i) fits.ReadCount();
  fits.ReadNone();
  EXPECT_EQ(fits.Next(), Type::kEnd);
  EXPECT_EQ(nested(kMaxDepth + 1), "");

  // By hand, what the writer refuses.
  std::string deeper = deepest;
  deeper.insert(1, deepest.substr(1, 2));
  Reader refuses(deeper);
  for (std::size_t i = 0; i <= kMaxDepth; ++i) refuses.ReadCount();
  EXPECT_FALSE(refuses.ok());
}

TEST(Codec, WriterRefusesWrongCounts) {
  EXPECT_EQ(Payload([](Writer& w) { w.WriteList(1); }), "");
  EXPECT_EQ(Payload([](Writer&) {}), "");
  EXPECT_EQ(Payload([](Writer& w) {
              w.WriteList(1);
              w.WriteNone();
              w.WriteNone();
            }),
            "");
}

TEST(Codec, ReaderRefusesCountsBeyondTheInput) {
  // A list of 2^40 members, and lists whose members together exceed what remains.
  std::string huge = Payload([](Writer& w) { w.WriteList(0); });
  huge.back() = '\x80';
  huge += "\x80\x80\x80\x80\x20";
  Reader reader(huge);
  EXPECT_EQ(reader.ReadCount(), 0u);
  EXPECT_FALSE(reader.ok());

  std::string nested = Payload([](Writer& w) {
    w.WriteList(1);
    w.WriteList(4);
    for (int i = 0; i < 4; ++i) w.WriteNone();
  });
  nested[2] =
      2;  // the outer list has two members now: the inner one may not claim all that remains
  Reader claims(nested);
  EXPECT_EQ(claims.ReadCount(), 2u);
  EXPECT_EQ(claims.ReadCount(), 0u);
  EXPECT_FALSE(claims.ok());
}

TEST(Codec, FailureIsSticky) {
  const std::string payload = Payload([](Writer& w) { w.WriteInt(5); });
  Reader r(payload);
  r.ReadText();
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.Next(), Type::kInvalid);
  EXPECT_EQ(r.ReadInt(), 0);
}

TEST(Codec, RefusesOtherFormatsTrailingBytesAndNothing) {
  std::string payload = Payload([](Writer& w) { w.WriteInt(5); });
  payload += 'x';
  Reader trailing(payload);
  EXPECT_EQ(trailing.ReadInt(), 5);
  EXPECT_EQ(trailing.Next(), Type::kInvalid);
  payload[0] = kFormat + 1;
  EXPECT_FALSE(Reader(payload).ok());
  EXPECT_FALSE(Reader("").ok());
}

TEST(Codec, AResetWriterBeginsAnew) {
  Writer w;
  w.WriteText("once");
  const std::string first = w.Take();
  w.Reset();
  w.WriteText("once");
  EXPECT_EQ(w.Take(), first);
}

TEST(Civil, CountsDaysAsPythonDoes) {
  EXPECT_EQ(DaysFromCivil({1970, 1, 1}), 0);
  EXPECT_EQ(DaysFromCivil({2026, 11, 23}), 20'780);  // (date(2026,11,23) - date(1970,1,1)).days
  for (std::int64_t days = kMinDays; days <= kMaxDays; days += 97) {
    ASSERT_EQ(DaysFromCivil(CivilFromDays(days)), days);
  }
  EXPECT_EQ(SplitMicros(-1).days, -1);
  EXPECT_EQ(SplitMicros(-1).micros, kMicrosPerDay - 1);
  EXPECT_EQ(SplitMicros(kMicrosPerDay).days, 1);
}

}  // namespace
}  // namespace smartcache::codec
