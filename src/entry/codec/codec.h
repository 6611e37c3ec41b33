// The native payload: plain values and runs of model instances as compact bytes. Knows no Python:
// the binding walks objects and calls Writer, or pulls from Reader and makes objects. Neither is
// thread-safe; one of each per thread may be reused (Writer::Reset, a new Reader).
//
// Format. payload := version byte (kFormat), value. Integers are little endian, varints are LEB128,
// zigzag maps 0,-1,1,-2.. to 0,1,2,3.. A value begins with one byte:
//   00..3f  int 0..63
//   40..7f  text of 0..63 bytes, then its UTF-8; each of 1..63 bytes takes the next shared index
//   80..bf  the shared text of index 0..63
//   c0+t    type t: False, int (zigzag), long text (varint length), bytes, dates, ...; containers
//           have a varint count, then their members; dicts key, value, key, ..
//   e0+t    its second form: True; the shared text of a varint index
// rows := head, flags byte, label, alias, varint n, n field names, varint m, m related names,
//   varint count, then n + m columns. Names are text values. A column begins with one byte: type in
//   the low 4 bits, 10 if a null bitmap (1 bit a row, 1 = null) follows, encoding in the upper 3
//   bits. Only rows that are not null have data. See columns.h for the encodings.
//
// A reader never reads out of bounds, and no input makes a caller allocate more than a fixed
// multiple of its size plus kFreeCells cells: each value not yet read needs a byte of what remains,
// and columns that take no bytes a row (constants) draw on kFreeCells. Writers keep within the same
// limits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "entry/codec/nesting.h"

namespace smartcache::codec {

inline constexpr std::uint8_t kFormat = 1;
// Containers within containers. Deeper values go through pickle.
inline constexpr std::size_t kMaxDepth = Nesting::kMaxDepth;
inline constexpr std::uint32_t kNotShared = UINT32_MAX;
inline constexpr std::size_t kFreeCells = std::size_t{1} << 18;

enum class Type : std::uint8_t {
  kInvalid,  // damaged, or the reader has failed before
  kEnd,      // the one value has been read completely and no byte is left
  kNone,
  kBool,
  kInt,
  kBigInt,
  kFloat,
  kText,
  kBytes,
  kList,
  kTuple,
  kDict,
  kSet,
  kFrozenSet,
  kDate,
  kDateTime,
  kTime,
  kTimeDelta,
  kDecimal,
  kUuid,
  kRows,
  kBackRef,  // an object met before: the caller numbers them
  kTagged,   // one value follows that means something to the caller: querysets, enums, ...
};

// UTF-8, lone surrogates as three bytes. Reading: `index` < Reader::shared_texts() if the same text
// may come again under the same index, so that one object can be made for all; else kNotShared.
struct Text {
  std::string_view bytes;
  std::uint32_t index = kNotShared;
};

// An int beyond 64 bits: sign, and magnitude in little endian.
struct BigInt {
  bool negative = false;
  std::string_view magnitude;
};

enum class ZoneKind : std::uint8_t { kNaive, kUtc /* datetime.timezone.utc */, kOffset, kNamed };
struct Zone {
  ZoneKind kind = ZoneKind::kNaive;
  std::int64_t offset_us = 0;  // kOffset: datetime.timezone(timedelta(microseconds=..))
  Text name;                   // kNamed: zoneinfo.ZoneInfo(name)
};

// Days and microseconds count from 1970-01-01 as the wall shows it, no zone applied (see civil.h).
// Read values are within years 1..9999 and 0..24 h.
struct DateTime {
  std::int64_t micros = 0;
  bool fold = false;
  Zone zone;
};
struct Time {
  std::int64_t micros = 0;  // since midnight
  bool fold = false;
  Zone zone;
};
struct TimeDelta {  // normalized as Python does: 0 <= seconds < 86400, 0 <= micros < 1000000
  std::int32_t days = 0;
  std::int32_t seconds = 0;
  std::int32_t micros = 0;
};
using Uuid = std::array<std::uint8_t, 16>;  // big endian, as UUID.bytes

// A run of instances of one model with the same loaded fields, or of plain dicts (label empty).
struct RowsHeader {
  std::uint8_t flags = 0;     // the caller's: adding, ...
  Text label;                 // "app.Model"
  Text alias;                 // _state.db; empty: None
  std::vector<Text> fields;   // columns, first
  std::vector<Text> related;  // further columns: cached relations, prefetched lists, ...
  std::uint32_t count = 0;    // rows
};

enum class ColumnType : std::uint8_t {
  kNull,         // every row is None; no data
  kValues,       // one value for each row that is not null, by the ordinary calls
  kSpread,       // one value: a list or rows block with a member for each row that is not null
  kBool,         // bytes 0 or 1           Bools
  kInt,          // 64-bit ints            Ints
  kFloat,        //                        Floats
  kText,         //                        Texts
  kBytes,        //                        Texts
  kDate,         // days                   Ints
  kDateTime,     // naive, micros, fold 0  Ints
  kDateTimeUtc,  // aware, kUtc, fold 0    Ints
  kTime,         // naive, micros, fold 0  Ints
  kTimeDelta,    // micros                 Ints
  kDecimal,      // str(Decimal)           Texts
  kUuid,         // 16 bytes each          Texts
  kInvalid,
};

enum class Encoding : std::uint8_t;  // of a column: columns.h
struct IntsPlan;

// One byte a row, 1 = None. Empty: no row is null.
using Nulls = std::span<const std::uint8_t>;

// Writes one value. Calls come in the order of the format: containers announce how many members
// follow. A wrong number, or more than kMaxDepth levels (a rows block is two), make the writer
// fail: ok() is then false and Take() empty.
class Writer {
 public:
  Writer() { Reset(); }
  // Begins anew; keeps the buffers.
  void Reset();
  [[nodiscard]] bool ok() const { return nesting_.ok(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  // The payload; empty if the writer has failed or the value is not complete. Reset before further
  // use.
  [[nodiscard]] std::string Take();

  void WriteNone();
  void WriteBool(bool value);
  void WriteInt(std::int64_t value);
  void WriteBigInt(bool negative, std::string_view magnitude);
  void WriteFloat(double value);
  void WriteText(std::string_view utf8);
  void WriteBytes(std::string_view bytes);
  void WriteDate(std::int64_t days);
  void WriteDateTime(const DateTime& value);
  void WriteTime(const Time& value);
  void WriteTimeDelta(const TimeDelta& value);
  void WriteDecimal(std::string_view text);  // str(Decimal): exact, with NaN, -0 and exponents
  void WriteUuid(const Uuid& value);
  void WriteBackRef(std::uint64_t number);

  // Followed by `count` values; Dict by `count` pairs; Tagged by one value.
  void WriteList(std::size_t count) { Open(Type::kList, count, count); }
  void WriteTuple(std::size_t count) { Open(Type::kTuple, count, count); }
  void WriteSet(std::size_t count) { Open(Type::kSet, count, count); }
  void WriteFrozenSet(std::size_t count) { Open(Type::kFrozenSet, count, count); }
  void WriteDict(std::size_t count) { Open(Type::kDict, count, 2 * count); }
  void WriteTagged(std::uint8_t tag);

  // Followed by one column for each field, then for each related name. At most 2^32 - 1 rows.
  void WriteRows(const RowsHeader& header);
  // Columns: spans have one member a row (what stands where a row is null is ignored); the encoding
  // is chosen here. A column of typed values in which every row is null, or a block without rows,
  // is written as a null column.
  void WriteNullColumn();
  void WriteBoolColumn(std::span<const std::uint8_t> values, Nulls nulls);
  // kInt, kDate, kDateTime, kDateTimeUtc, kTime or kTimeDelta.
  void WriteIntColumn(ColumnType type, std::span<const std::int64_t> values, Nulls nulls);
  void WriteFloatColumn(std::span<const double> values, Nulls nulls);
  // kText, kBytes, kDecimal or kUuid.
  void WriteTextColumn(ColumnType type, std::span<const std::string_view> values, Nulls nulls);
  // Followed by a value for each row that is not null.
  void WriteValueColumn(Nulls nulls);
  // Followed by one list or rows block with a member for each row that is not null.
  void WriteSpreadColumn(Nulls nulls);

 private:
  struct SharedText {  // where a short text stands in out_
    std::uint32_t offset = 0;
    std::uint32_t length = 0;  // 0: free
    std::uint32_t index = 0;
  };
  // Where at least `bytes` more may be written; Used says up to where they were.
  char* Room(std::size_t bytes);
  void Used(const char* end) { size_ = static_cast<std::size_t>(end - out_.data()); }
  char* Head(Type type, std::size_t room);  // after the head byte; null if no value is due
  void PutText(std::string_view utf8);
  void PutNames(const std::vector<Text>& names);
  void PutZone(const Zone& zone);
  void Open(Type type, std::size_t count, std::size_t members);
  bool TakeFreeCells(std::size_t cells);
  void GrowShared();

  // Columns. `present`: number of rows that are not null.
  std::size_t BeginColumn(std::size_t values, Nulls nulls);  // present; 0: nothing more to write
  void PutNullColumn(std::size_t rows);
  void PutColumnHead(ColumnType type, Encoding encoding, Nulls nulls);
  template <class Cell>
  std::span<const Cell> Present(std::span<const Cell> values, Nulls nulls, std::size_t present,
                                std::vector<Cell>& scratch);
  void PutInts(const IntsPlan& plan, std::span<const std::int64_t> values);
  bool PutDecimals(ColumnType type, int decimals, Nulls nulls);  // of ints_

  std::string out_;  // longer than what has been written
  std::size_t size_ = 0;
  Nesting nesting_;
  std::vector<SharedText> shared_;  // direct-mapped by a hash: a newer text drives out an older one
  std::uint32_t shared_count_ = 0;
  std::size_t free_cells_ = kFreeCells;
  std::vector<std::int64_t> ints_;  // scratch: the rows that are not null
  std::vector<double> floats_;
  std::vector<std::string_view> texts_;
};

// Reads one payload. Failure is sticky: what is read afterwards is 0 or empty, and Next() is
// kInvalid. Views point into the payload or, for columns, into the vectors given.
class Reader {
 public:
  explicit Reader(std::string_view payload);
  [[nodiscard]] bool ok() const { return in_.ok(); }
  // What the caller finds wrong (bad UTF-8, an unhashable set member) fails the reader too.
  void Fail() { in_.Fail(); }
  // Type of the value that comes next; reads nothing.
  [[nodiscard]] Type Next();
  // Texts that have been given a shared index so far.
  [[nodiscard]] std::size_t shared_texts() const { return shared_.size(); }

  void ReadNone();
  bool ReadBool();
  std::int64_t ReadInt();
  BigInt ReadBigInt();
  double ReadFloat();
  Text ReadText();
  std::string_view ReadBytes();
  std::int64_t ReadDate();
  DateTime ReadDateTime();
  Time ReadTime();
  TimeDelta ReadTimeDelta();
  std::string_view ReadDecimal();
  Uuid ReadUuid();
  std::uint64_t ReadBackRef();
  // For kList, kTuple, kSet, kFrozenSet: members that follow. For kDict: pairs. At most the bytes
  // that remain.
  std::size_t ReadCount();
  std::uint8_t ReadTagged();

  RowsHeader ReadRows();
  // Type of the next column of the innermost rows block, and for each row whether it is null
  // (empty: no row is, or the type is kNull). kNull, kValues and kSpread need nothing more than the
  // values; the others exactly one of the calls below.
  ColumnType ReadColumn(std::vector<std::uint8_t>& nulls);
  // One member a row; 0 where it is null.
  void ReadBools(std::vector<std::uint8_t>& out);
  void ReadInts(std::vector<std::int64_t>& out);
  void ReadFloats(std::vector<double>& out);
  // Words and, for each row, which of them; `codes` empty: row i has words[i]. Null rows: code 0 or
  // an empty word.
  struct Texts {
    std::vector<std::string_view> words;
    std::vector<std::uint8_t> codes;
    std::string buffer;  // owns what does not stand in the payload
  };
  void ReadTexts(Texts& out);

 private:
  // The value at hand is of this type: steps over its head byte, which is returned; else fails.
  std::uint8_t Head(Type expected);
  void Open(std::uint64_t members);
  Text TakeText(std::uint8_t head);
  Text TakeName();
  std::vector<Text> TakeNames();
  Zone TakeZone(std::uint8_t flags);
  bool TakeFreeCells(std::size_t cells);

  bool HasColumn(bool type_fits);
  void TakeInts(Encoding encoding, std::vector<std::int64_t>& out);
  int TakeDecimals(int most);  // number of decimals; the ints are in ints_
  void TakeWords(std::size_t count, std::vector<std::string_view>& words);
  void TakeDecimalTexts(Texts& out);
  template <class Cell>
  void Spread(std::vector<Cell>& out);

  ByteReader in_;
  Nesting nesting_;
  std::vector<std::string_view> shared_;
  std::size_t free_cells_ = kFreeCells;
  // The column that ReadColumn has begun, until its data are read.
  struct Column {
    ColumnType type = ColumnType::kInvalid;
    Encoding encoding{};
    std::size_t rows = 0;
    std::size_t present = 0;  // rows that are not null
    std::string_view bitmap;  // of nulls; empty: none
  } column_;
  std::vector<std::int64_t> ints_;  // scratch
};

}  // namespace smartcache::codec
