#include "base/bytes.h"
#include "entry/codec/civil.h"
#include "entry/codec/heads.h"

namespace smartcache::codec {
Reader::Reader(std::string_view payload) : in_(payload) {
  if (in_.Byte() != kFormat) Fail();
}

Type Reader::Next() {
  if (!ok()) return Type::kInvalid;
  if (in_.left() == 0) {
    if (nesting_.complete()) return Type::kEnd;
    Fail();
    return Type::kInvalid;
  }
  const Type type = nesting_.complete() ? Type::kInvalid : TypeOf(in_.Peek());
  if (type == Type::kInvalid) Fail();
  return type;
}

std::uint8_t Reader::Head(Type expected) {
  const std::uint8_t head = in_.Byte();
  if (!ok() || TypeOf(head) != expected || !nesting_.Value()) {
    Fail();
    return 0;
  }
  return head;
}

void Reader::Open(std::uint64_t members) {
  // Every member takes a byte at least: no count can make the caller allocate beyond what is there.
  if (!ok() || members > in_.left() || !nesting_.Open(members) || nesting_.owed() > in_.left()) {
    Fail();
  }
}

bool Reader::TakeFreeCells(std::size_t cells) {
  if (free_cells_ < cells) {
    Fail();
    return false;
  }
  free_cells_ -= cells;
  return true;
}

void Reader::ReadNone() { Head(Type::kNone); }

bool Reader::ReadBool() { return (Head(Type::kBool) & kSecondForm) != 0; }

std::int64_t Reader::ReadInt() {
  const std::uint8_t head = Head(Type::kInt);
  return head < kTypes ? head : in_.Zigzag();
}

BigInt Reader::ReadBigInt() {
  Head(Type::kBigInt);
  const std::uint64_t size_and_sign = in_.Varint();
  return {(size_and_sign & 1) != 0, in_.Take(size_and_sign >> 1)};
}

double Reader::ReadFloat() {
  Head(Type::kFloat);
  return in_.Fixed<double>();
}

Text Reader::ReadText() { return TakeText(Head(Type::kText)); }

Text Reader::TakeText(std::uint8_t head) {
  if (!ok()) return {};
  if (head < kSharedText) {
    const std::string_view bytes = in_.Take(head - kShortText);
    if (bytes.empty()) return {};
    if (shared_.capacity() == 0) shared_.reserve(32);  // the names of one instance
    shared_.push_back(bytes);
    return {bytes, static_cast<std::uint32_t>(shared_.size() - 1)};
  }
  if (head >= kTypes && (head & kSecondForm) == 0) return {in_.Take(in_.Varint()), kNotShared};
  const std::uint64_t index = head < kTypes ? head - kSharedText : in_.Varint();
  if (!ok() || index >= shared_.size()) {
    Fail();
    return {};
  }
  return {shared_[static_cast<std::size_t>(index)], static_cast<std::uint32_t>(index)};
}

std::string_view Reader::ReadBytes() {
  Head(Type::kBytes);
  return in_.Take(in_.Varint());
}

std::int64_t Reader::ReadDate() {
  Head(Type::kDate);
  const std::int64_t days = in_.Zigzag();
  if (days >= kMinDays && days <= kMaxDays) return days;
  Fail();
  return 0;
}

Zone Reader::TakeZone(std::uint8_t flags) {
  Zone zone{static_cast<ZoneKind>(flags & kZoneMask), 0, {}};
  if (zone.kind == ZoneKind::kOffset) {
    zone.offset_us = in_.Zigzag();
    // What datetime.timezone allows: strictly less than a day.
    if (zone.offset_us <= -kMicrosPerDay || zone.offset_us >= kMicrosPerDay) Fail();
  } else if (zone.kind == ZoneKind::kNamed) {
    zone.name = TakeName();
  }
  return zone;
}

DateTime Reader::ReadDateTime() {
  Head(Type::kDateTime);
  const std::uint8_t flags = in_.Byte();
  DateTime value{in_.Zigzag(), (flags & kFold) != 0, TakeZone(flags)};
  const std::int64_t days = SplitMicros(value.micros).days;
  if (flags > kAllTimeFlags || days < kMinDays || days > kMaxDays) Fail();
  return ok() ? value : DateTime{};
}

Time Reader::ReadTime() {
  Head(Type::kTime);
  const std::uint8_t flags = in_.Byte();
  Time value{in_.Zigzag(), (flags & kFold) != 0, TakeZone(flags)};
  if (flags > kAllTimeFlags || value.micros < 0 || value.micros >= kMicrosPerDay) Fail();
  return ok() ? value : Time{};
}

TimeDelta Reader::ReadTimeDelta() {
  Head(Type::kTimeDelta);
  const std::int64_t days = in_.Zigzag();
  const std::uint64_t seconds = in_.Varint();
  const std::uint64_t micros = in_.Varint();
  constexpr std::int64_t kMostDays = 999'999'999;  // of Python's timedelta
  if (days < -kMostDays || days > kMostDays || seconds >= 86'400 || micros >= 1'000'000) Fail();
  if (!ok()) return {};
  return {static_cast<std::int32_t>(days), static_cast<std::int32_t>(seconds),
          static_cast<std::int32_t>(micros)};
}

std::string_view Reader::ReadDecimal() {
  Head(Type::kDecimal);
  return in_.Take(in_.Varint());
}

Uuid Reader::ReadUuid() {
  Head(Type::kUuid);
  return in_.Fixed<Uuid>();
}

std::uint64_t Reader::ReadBackRef() {
  Head(Type::kBackRef);
  return in_.Varint();
}

std::size_t Reader::ReadCount() {
  const Type type = Next();
  if (type < Type::kList || type > Type::kFrozenSet) {
    Fail();
    return 0;
  }
  Head(type);
  const std::uint64_t count = in_.Varint();
  Open(type == Type::kDict && count <= in_.left() ? 2 * count : count);
  return ok() ? static_cast<std::size_t>(count) : 0;
}

std::uint8_t Reader::ReadTagged() {
  Head(Type::kTagged);
  const std::uint8_t tag = in_.Byte();
  Open(1);
  return tag;
}

Text Reader::TakeName() {
  const std::uint8_t head = in_.Byte();
  if (ok() && TypeOf(head) == Type::kText) return TakeText(head);
  Fail();
  return {};
}

std::vector<Text> Reader::TakeNames() {
  const std::uint64_t count = in_.Varint();
  std::vector<Text> names;
  for (std::uint64_t i = 0; i < count && ok(); ++i) names.push_back(TakeName());
  return names;
}

RowsHeader Reader::ReadRows() {
  Head(Type::kRows);
  RowsHeader header;
  header.flags = in_.Byte();
  header.label = TakeName();
  header.alias = TakeName();
  header.fields = TakeNames();
  header.related = TakeNames();
  const std::uint64_t rows = in_.Varint();
  const std::size_t columns = header.fields.size() + header.related.size();
  // A column takes at least a bit a row, or free cells.
  const bool rows_fit = rows <= UINT32_MAX && rows <= free_cells_ + 8 * in_.left();
  if (!ok() || !rows_fit || columns > in_.left() ||
      !nesting_.OpenRows(columns, static_cast<std::uint32_t>(rows)) ||
      nesting_.owed() > in_.left() ||
      (columns == 0 && !TakeFreeCells(static_cast<std::size_t>(rows)))) {
    Fail();
    return {};
  }
  header.count = static_cast<std::uint32_t>(rows);
  return header;
}

}  // namespace smartcache::codec
