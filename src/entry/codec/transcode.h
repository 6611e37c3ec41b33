// Reads whatever a Reader holds and writes it again: how tests and fuzzers visit every call of
// both.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "entry/codec/columns.h"

namespace smartcache::codec {

class Transcoder {
 public:
  explicit Transcoder(std::string_view payload) : in_(payload) {}
  // The payload anew, as the writer writes it; empty if it is damaged.
  std::string Run() {
    Value();
    return in_.Next() == Type::kEnd ? out_.Take() : std::string();
  }

 private:
  void Value() {
    switch (const Type type = in_.Next()) {
      case Type::kInvalid:
      case Type::kEnd:
        return in_.Fail();
      case Type::kNone:
        in_.ReadNone();
        return out_.WriteNone();
      case Type::kBool:
        return out_.WriteBool(in_.ReadBool());
      case Type::kInt:
        return out_.WriteInt(in_.ReadInt());
      case Type::kBigInt: {
        const BigInt value = in_.ReadBigInt();
        return out_.WriteBigInt(value.negative, value.magnitude);
      }
      case Type::kFloat:
        return out_.WriteFloat(in_.ReadFloat());
      case Type::kText:
        return out_.WriteText(in_.ReadText().bytes);
      case Type::kBytes:
        return out_.WriteBytes(in_.ReadBytes());
      case Type::kDate:
        return out_.WriteDate(in_.ReadDate());
      case Type::kDateTime:
        return out_.WriteDateTime(in_.ReadDateTime());
      case Type::kTime:
        return out_.WriteTime(in_.ReadTime());
      case Type::kTimeDelta:
        return out_.WriteTimeDelta(in_.ReadTimeDelta());
      case Type::kDecimal:
        return out_.WriteDecimal(in_.ReadDecimal());
      case Type::kUuid:
        return out_.WriteUuid(in_.ReadUuid());
      case Type::kBackRef:
        return out_.WriteBackRef(in_.ReadBackRef());
      case Type::kTagged:
        out_.WriteTagged(in_.ReadTagged());
        return Value();
      case Type::kRows:
        return Rows();
      default:
        return Container(type);
    }
  }

  void Container(Type type) {
    std::size_t count = in_.ReadCount();
    switch (type) {
      case Type::kList:
        out_.WriteList(count);
        break;
      case Type::kTuple:
        out_.WriteTuple(count);
        break;
      case Type::kSet:
        out_.WriteSet(count);
        break;
      case Type::kFrozenSet:
        out_.WriteFrozenSet(count);
        break;
      default:
        out_.WriteDict(count);
        count *= 2;
    }
    while (in_.ok() && count-- > 0) Value();
  }

  void Rows() {
    const RowsHeader header = in_.ReadRows();
    out_.WriteRows(header);
    for (std::size_t i = header.fields.size() + header.related.size(); in_.ok() && i-- > 0;) {
      Column(header.count);
    }
  }

  void Column(std::size_t rows) {
    std::vector<std::uint8_t> nulls;
    const ColumnType type = in_.ReadColumn(nulls);
    if (!in_.ok()) return;
    if (type == ColumnType::kNull) return out_.WriteNullColumn();
    if (type == ColumnType::kSpread) {
      out_.WriteSpreadColumn(nulls);
      return Value();
    }
    if (type == ColumnType::kValues) {
      out_.WriteValueColumn(nulls);
      for (std::size_t i = 0; in_.ok() && i < rows; ++i) {
        if (nulls.empty() || nulls[i] == 0) Value();
      }
    } else if (type == ColumnType::kBool) {
      std::vector<std::uint8_t> values;
      in_.ReadBools(values);
      if (in_.ok()) out_.WriteBoolColumn(values, nulls);
    } else if (type == ColumnType::kFloat) {
      std::vector<double> values;
      in_.ReadFloats(values);
      if (in_.ok()) out_.WriteFloatColumn(values, nulls);
    } else if (IsInts(type)) {
      std::vector<std::int64_t> values;
      in_.ReadInts(values);
      if (in_.ok()) out_.WriteIntColumn(type, values, nulls);
    } else {
      Reader::Texts texts;
      in_.ReadTexts(texts);
      std::vector<std::string_view> values = texts.words;
      if (!texts.codes.empty()) {
        values.clear();
        for (const std::uint8_t code : texts.codes) values.push_back(texts.words[code]);
      }
      if (in_.ok()) out_.WriteTextColumn(type, values, nulls);
    }
  }

  Reader in_;
  Writer out_;
};

}  // namespace smartcache::codec
