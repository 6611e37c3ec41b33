#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "entry/codec/civil.h"
#include "entry/codec/columns.h"
#include "entry/codec/decimals.h"

namespace smartcache::codec {
namespace {

bool BitAt(std::string_view bitmap, std::size_t i) {
  return (static_cast<unsigned char>(bitmap[i / 8]) >> i % 8 & 1) != 0;
}

// Bounds of what the column's type can hold, so that no caller meets a date that does not exist.
struct Bounds {
  std::int64_t least;
  std::int64_t most;
};
Bounds BoundsOf(ColumnType type) {
  switch (type) {
    case ColumnType::kDate:
      return {kMinDays, kMaxDays};
    case ColumnType::kDateTime:
    case ColumnType::kDateTimeUtc:
      return {kMinDays * kMicrosPerDay, (kMaxDays + 1) * kMicrosPerDay - 1};
    case ColumnType::kTime:
      return {0, kMicrosPerDay - 1};
    default:
      return {INT64_MIN, INT64_MAX};
  }
}

}  // namespace

ColumnType Reader::ReadColumn(std::vector<std::uint8_t>& nulls) {
  nulls.clear();
  const std::uint8_t head = in_.Byte();
  const auto type = static_cast<ColumnType>(head & 15);
  const bool has_nulls = (head & kHasNulls) != 0;
  if (!ok() || type >= ColumnType::kInvalid || column_.type != ColumnType::kInvalid ||
      !nesting_.Column()) {
    Fail();
    return ColumnType::kInvalid;
  }
  Column column{type, static_cast<Encoding>(head >> 5), nesting_.rows(), nesting_.rows(), {}};
  if (has_nulls) {
    column.bitmap = in_.Take((column.rows + 7) / 8);
    if (!ok()) return ColumnType::kInvalid;
    nulls.resize(column.rows);
    for (std::size_t i = 0; i < column.rows; ++i) {
      nulls[i] = BitAt(column.bitmap, i) ? 1 : 0;
      column.present -= nulls[i];
    }
  }
  switch (type) {
    case ColumnType::kNull:
      if (has_nulls) Fail();
      TakeFreeCells(column.rows);
      break;
    case ColumnType::kValues:
      Open(column.present);
      break;
    case ColumnType::kSpread:
      Open(1);
      break;
    default:
      column_ = column;
  }
  return ok() ? type : ColumnType::kInvalid;
}

bool Reader::HasColumn(bool type_fits) {
  if (type_fits && ok()) return true;
  Fail();
  return false;
}

template <class Cell>
void Reader::Spread(std::vector<Cell>& out) {
  if (!ok()) {
    out.clear();
  } else if (!column_.bitmap.empty()) {
    std::size_t from = column_.present;
    out.resize(column_.rows);
    for (std::size_t i = column_.rows; i-- > 0;) {
      out[i] = BitAt(column_.bitmap, i) || from == 0 ? Cell{} : out[--from];
    }
  }
  column_ = {};
}

void Reader::ReadBools(std::vector<std::uint8_t>& out) {
  out.clear();
  if (!HasColumn(column_.type == ColumnType::kBool && column_.encoding == Encoding::kPlain)) return;
  const std::string_view bits = in_.Take((column_.present + 7) / 8);
  if (ok()) {
    out.resize(column_.present);
    for (std::size_t i = 0; i < column_.present; ++i) out[i] = BitAt(bits, i) ? 1 : 0;
  }
  Spread(out);
}

void Reader::TakeInts(Encoding encoding, std::vector<std::int64_t>& out) {
  const std::size_t count = column_.present;
  if (encoding == Encoding::kConstant) {
    const std::int64_t value = in_.Zigzag();
    if (ok() && TakeFreeCells(count)) out.assign(count, value);
    return;
  }
  if (encoding == Encoding::kPlain) {
    if (count > in_.left()) return Fail();
    out.resize(count);
    for (std::int64_t& value : out) value = in_.Zigzag();
    return;
  }
  const bool delta = encoding == Encoding::kDelta;
  if ((!delta && encoding != Encoding::kPacked) || count == 0) return Fail();
  std::uint64_t last = delta ? static_cast<std::uint64_t>(in_.Zigzag()) : 0;
  const auto base = static_cast<std::uint64_t>(in_.Zigzag());
  const unsigned width = in_.Byte();
  const std::size_t stored = count - (delta ? 1 : 0);
  if (!ok() || width > 8 || (width > 0 && stored > in_.left() / width) ||
      (width == 0 && !TakeFreeCells(count))) {
    return Fail();
  }
  const std::string_view offsets = in_.Take(stored * width);
  // A whole word is read and cut where the payload has one: a copy of `width` bytes is a call.
  const std::size_t readable = offsets.size() + in_.left();
  const std::uint64_t mask = width == 0 ? 0 : ~std::uint64_t{0} >> (64 - 8 * width);
  out.resize(count);
  if (delta) out[0] = static_cast<std::int64_t>(last);
  std::int64_t* const to = out.data() + (delta ? 1 : 0);
  for (std::size_t i = 0; i < stored; ++i) {
    std::uint64_t offset = 0;
    const std::size_t at = i * width;
    std::memcpy(&offset, offsets.data() + at, at + 8 <= readable ? 8 : width);
    const std::uint64_t value = last + base + (offset & mask);
    to[i] = static_cast<std::int64_t>(value);
    if (delta) last = value;
  }
}

void Reader::ReadInts(std::vector<std::int64_t>& out) {
  out.clear();
  if (!HasColumn(IsInts(column_.type))) return;
  TakeInts(column_.encoding, out);
  const Bounds bounds = BoundsOf(column_.type);
  const bool within = std::all_of(out.begin(), out.end(), [&](std::int64_t value) {
    return value >= bounds.least && value <= bounds.most;
  });
  if (!within) Fail();
  Spread(out);
}

int Reader::TakeDecimals(int most) {
  const int decimals = in_.Byte();
  const auto encoding = static_cast<Encoding>(in_.Byte());
  ints_.clear();
  if (ok() && decimals <= most) {
    TakeInts(encoding, ints_);
  } else {
    Fail();
  }
  return decimals;
}

void Reader::ReadFloats(std::vector<double>& out) {
  out.clear();
  if (!HasColumn(column_.type == ColumnType::kFloat)) return;
  if (column_.encoding == Encoding::kDecimals) {
    const int decimals = TakeDecimals(kMaxFloatDecimals);
    if (ok()) {
      out.resize(column_.present);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = FloatOfInt(ints_[i], decimals);
    }
  } else if (column_.encoding == Encoding::kPlain) {
    const std::string_view bytes = in_.Take(column_.present * sizeof(double));
    out.resize(bytes.size() / sizeof(double));
    if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  } else {
    Fail();
  }
  Spread(out);
}

void Reader::TakeWords(std::size_t count, std::vector<std::string_view>& words) {
  if (count > in_.left()) return Fail();  // each has at least a byte of length
  words.resize(count);
  ints_.resize(count);
  for (std::int64_t& length : ints_) length = static_cast<std::int64_t>(in_.Varint());
  for (std::size_t i = 0; i < count; ++i) words[i] = in_.Take(static_cast<std::uint64_t>(ints_[i]));
}

void Reader::TakeDecimalTexts(Texts& out) {
  const int decimals = TakeDecimals(kMaxDecimals);
  if (!ok()) return;
  out.buffer.resize(ints_.size() * kMaxDecimalBytes);
  char* at = out.buffer.data();
  for (const std::int64_t value : ints_) {
    char* const end = WriteDecimalOfInt(at, value, decimals);
    out.words.emplace_back(at, end - at);
    at = end;
  }
}

void Reader::ReadTexts(Texts& out) {
  out.words.clear();
  out.codes.clear();
  if (!HasColumn(IsTexts(column_.type))) return;
  const bool decimal = column_.type == ColumnType::kDecimal;
  bool coded = true;
  if (column_.encoding == Encoding::kDecimals && decimal) {
    TakeDecimalTexts(out);
    coded = false;
  } else if (column_.encoding == Encoding::kPlain) {
    TakeWords(column_.present, out.words);
    coded = false;
  } else if (column_.encoding == Encoding::kConstant) {
    TakeWords(1, out.words);
    if (TakeFreeCells(column_.present)) out.codes.resize(column_.present);
  } else if (column_.encoding == Encoding::kWords) {
    const std::size_t words = in_.Byte();
    TakeWords(words, out.words);
    const std::string_view codes = in_.Take(column_.present);
    out.codes.assign(codes.begin(), codes.end());
    const bool known = std::all_of(out.codes.begin(), out.codes.end(),
                                   [&](std::uint8_t code) { return code < words; });
    if (!known || words == 0) Fail();  // null rows have code 0, so there is always a word 0
  } else {
    Fail();
  }
  const bool sized = column_.type != ColumnType::kUuid ||
                     std::all_of(out.words.begin(), out.words.end(),
                                 [](std::string_view word) { return word.size() == sizeof(Uuid); });
  if (!sized) Fail();
  if (coded) {
    Spread(out.codes);
  } else {
    Spread(out.words);
  }
  if (!ok()) {
    out.words.clear();
    out.codes.clear();
  }
}

}  // namespace smartcache::codec
