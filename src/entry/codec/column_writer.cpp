#include <algorithm>
#include <array>
#include <bit>

#include "base/bytes.h"
#include "base/hash.h"
#include "entry/codec/columns.h"
#include "entry/codec/decimals.h"
#include "entry/codec/ints_plan.h"

namespace smartcache::codec {
namespace {

// Different texts of a column, and for each text which of them it is.
struct Words {
  std::vector<std::string_view> words;
  std::vector<std::uint8_t> codes;
};

// Empty where texts hardly repeat, so that words would not save anything.
Words FindWords(std::span<const std::string_view> texts) {
  std::array<std::uint16_t, 1024>
      table{};  // word number + 1; at most kMaxWords of them: never full
  Words found;
  found.codes.reserve(texts.size());
  const std::size_t most = std::clamp<std::size_t>(texts.size() / 2, 1, kMaxWords);
  for (const std::string_view text : texts) {
    std::size_t slot = Hash64(text) % table.size();
    while (table[slot] != 0 && found.words[table[slot] - 1u] != text) {
      slot = (slot + 1) % table.size();
    }
    if (table[slot] == 0) {
      if (found.words.size() == most) return {};
      found.words.push_back(text);
      table[slot] = static_cast<std::uint16_t>(found.words.size());
    }
    found.codes.push_back(static_cast<std::uint8_t>(table[slot] - 1));
  }
  return found;
}

}  // namespace

std::size_t Writer::BeginColumn(std::size_t values, Nulls nulls) {
  if (!nesting_.Column()) return 0;
  const std::size_t rows = nesting_.rows();
  if (values != rows || (!nulls.empty() && nulls.size() != rows)) {
    nesting_.Fail();
    return 0;
  }
  const auto absent = static_cast<std::size_t>(
      std::count_if(nulls.begin(), nulls.end(), [](std::uint8_t null) { return null != 0; }));
  if (absent == rows) PutNullColumn(rows);
  return rows - absent;
}

void Writer::PutNullColumn(std::size_t rows) {
  if (TakeFreeCells(rows)) {
    PutColumnHead(ColumnType::kNull, Encoding::kPlain, {});
  } else {
    PutColumnHead(ColumnType::kValues, Encoding::kPlain, std::vector<std::uint8_t>(rows, 1));
    nesting_.Open(0);
  }
}

void Writer::PutColumnHead(ColumnType type, Encoding encoding, Nulls nulls) {
  const bool has_nulls =
      std::any_of(nulls.begin(), nulls.end(), [](std::uint8_t null) { return null != 0; });
  char* at = Room(1 + nulls.size() / 8 + 1);
  *at++ = static_cast<char>(ColumnHead(type, encoding, has_nulls));
  if (has_nulls) {
    std::fill_n(at, (nulls.size() + 7) / 8, '\0');
    for (std::size_t i = 0; i < nulls.size(); ++i) {
      if (nulls[i] != 0) at[i / 8] = static_cast<char>(at[i / 8] | 1 << i % 8);
    }
    at += (nulls.size() + 7) / 8;
  }
  Used(at);
}

template <class Cell>
std::span<const Cell> Writer::Present(std::span<const Cell> values, Nulls nulls,
                                      std::size_t present, std::vector<Cell>& scratch) {
  if (present == values.size()) return values;
  scratch.clear();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (nulls[i] == 0) scratch.push_back(values[i]);
  }
  return scratch;
}

void Writer::PutInts(const IntsPlan& plan, std::span<const std::int64_t> values) {
  // Offsets are written as 8 bytes each, of which the next one overwrites those that are always 0.
  char* at = Room((values.size() + 3) * kMaxVarintBytes);
  std::uint64_t last = 0;
  switch (plan.encoding) {
    case Encoding::kConstant:
      at = PutVarint(at, ZigzagOf(plan.base));
      break;
    case Encoding::kDelta:
      last = static_cast<std::uint64_t>(values[0]);
      at = PutVarint(at, ZigzagOf(values[0]));
      values = values.subspan(1);
      [[fallthrough]];
    case Encoding::kPacked:
      at = PutVarint(at, ZigzagOf(plan.base));
      *at++ = static_cast<char>(plan.width);
      for (const std::int64_t value : values) {
        const auto now = static_cast<std::uint64_t>(value);
        PutFixed(at, now - last - static_cast<std::uint64_t>(plan.base));
        at += plan.width;
        if (plan.encoding == Encoding::kDelta) last = now;
      }
      break;
    default:
      for (const std::int64_t value : values) at = PutVarint(at, ZigzagOf(value));
  }
  Used(at);
}

void Writer::WriteNullColumn() {
  if (nesting_.Column()) PutNullColumn(nesting_.rows());
}

void Writer::WriteBoolColumn(std::span<const std::uint8_t> values, Nulls nulls) {
  const std::size_t present = BeginColumn(values.size(), nulls);
  if (present == 0) return;
  PutColumnHead(ColumnType::kBool, Encoding::kPlain, nulls);
  char* at = Room(present / 8 + 1);
  std::fill_n(at, (present + 7) / 8, '\0');
  std::size_t bit = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!nulls.empty() && nulls[i] != 0) continue;
    if (values[i] != 0) at[bit / 8] = static_cast<char>(at[bit / 8] | 1 << bit % 8);
    ++bit;
  }
  Used(at + (present + 7) / 8);
}

void Writer::WriteIntColumn(ColumnType type, std::span<const std::int64_t> values, Nulls nulls) {
  const std::size_t present = BeginColumn(values.size(), nulls);
  if (present == 0) return;
  const auto cells = Present(values, nulls, present, ints_);
  const IntsPlan plan = PlanInts(cells, free_cells_ >= present);
  if (!IsInts(type) || (plan.free() && !TakeFreeCells(present))) return nesting_.Fail();
  PutColumnHead(type, plan.encoding, nulls);
  PutInts(plan, cells);
}

bool Writer::PutDecimals(ColumnType type, int decimals, Nulls nulls) {
  const IntsPlan plan = PlanInts(ints_, free_cells_ >= ints_.size());
  if (plan.free() && !TakeFreeCells(ints_.size())) return false;
  PutColumnHead(type, Encoding::kDecimals, nulls);
  char* at = Room(2);
  at[0] = static_cast<char>(decimals);
  at[1] = static_cast<char>(plan.encoding);
  Used(at + 2);
  PutInts(plan, ints_);
  return true;
}

void Writer::WriteFloatColumn(std::span<const double> values, Nulls nulls) {
  const std::size_t present = BeginColumn(values.size(), nulls);
  if (present == 0) return;
  const auto cells = Present(values, nulls, present, floats_);
  if (const auto decimals = FloatsAsInts(cells, ints_)) {
    if (PutDecimals(ColumnType::kFloat, *decimals, nulls)) return;
  }
  PutColumnHead(ColumnType::kFloat, Encoding::kPlain, nulls);
  char* at = Room(present * sizeof(double));
  for (const double cell : cells) at = PutFixed(at, cell);
  Used(at);
}

void Writer::WriteTextColumn(ColumnType type, std::span<const std::string_view> values,
                             Nulls nulls) {
  const std::size_t present = BeginColumn(values.size(), nulls);
  if (present == 0) return;
  if (!IsTexts(type)) return nesting_.Fail();
  const auto cells = Present(values, nulls, present, texts_);
  if (type == ColumnType::kDecimal) {
    const auto decimals = DecimalsAsInts(cells, ints_);
    if (decimals && PutDecimals(type, *decimals, nulls)) return;
  }
  const Words found = FindWords(cells);
  Encoding encoding = found.words.empty() ? Encoding::kPlain : Encoding::kWords;
  if (found.words.size() == 1 && TakeFreeCells(present)) encoding = Encoding::kConstant;
  PutColumnHead(type, encoding, nulls);
  const std::span<const std::string_view> texts =
      encoding == Encoding::kPlain ? cells : std::span<const std::string_view>(found.words);
  std::size_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  char* at = Room((texts.size() + 1) * kMaxVarintBytes + bytes + present);
  if (encoding == Encoding::kWords) *at++ = static_cast<char>(texts.size());
  for (const std::string_view text : texts) at = PutVarint(at, text.size());
  for (const std::string_view text : texts) at = std::copy(text.begin(), text.end(), at);
  if (encoding == Encoding::kWords) at = std::copy(found.codes.begin(), found.codes.end(), at);
  Used(at);
}

void Writer::WriteValueColumn(Nulls nulls) {
  if (!nesting_.Column()) return;
  const std::size_t rows = nesting_.rows();
  if (!nulls.empty() && nulls.size() != rows) return nesting_.Fail();
  const auto absent = static_cast<std::size_t>(
      std::count_if(nulls.begin(), nulls.end(), [](std::uint8_t null) { return null != 0; }));
  PutColumnHead(ColumnType::kValues, Encoding::kPlain, nulls);
  nesting_.Open(rows - absent);
}

void Writer::WriteSpreadColumn(Nulls nulls) {
  if (!nesting_.Column()) return;
  if (!nulls.empty() && nulls.size() != nesting_.rows()) return nesting_.Fail();
  PutColumnHead(ColumnType::kSpread, Encoding::kPlain, nulls);
  nesting_.Open(1);
}

}  // namespace smartcache::codec
