// Columns of rows blocks, for those whose values are all of one scalar type. Needs the GIL.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "entry/codec/codec.h"
#include "python/ref.h"
#include "python/scalars.h"

namespace smartcache::binding {

class ColumnWriter {
 public:
  enum class Outcome { kWritten, kMixed /* nothing has been written */, kFailed };
  // Writes `values`, one a row, as a column of one type.
  [[nodiscard]] Outcome Write(codec::Writer& writer, const std::vector<Ref>& values);

 private:
  bool TakeInts(codec::ColumnType type, const std::vector<Ref>& values);
  bool TakeTexts(Scalar scalar, const std::vector<Ref>& values);

  // Scratch, kept from column to column.
  std::vector<std::uint8_t> nulls_;
  std::vector<std::uint8_t> bools_;
  std::vector<std::int64_t> ints_;
  std::vector<double> floats_;
  std::vector<std::string_view> texts_;
  std::vector<Ref> owners_;
  std::vector<codec::Uuid> uuids_;
};

class ColumnReader {
 public:
  // Reads the rest of a column that ReadColumn found to be of a scalar `type`, with its `nulls`.
  // `values` gets a new reference for each of `rows`. False if the bytes make no values.
  [[nodiscard]] bool Read(codec::Reader& reader, codec::ColumnType type,
                          const std::vector<std::uint8_t>& nulls, std::size_t rows,
                          std::vector<Ref>& values);

 private:
  std::vector<std::uint8_t> bools_;
  std::vector<std::int64_t> ints_;
  std::vector<double> floats_;
  codec::Reader::Texts texts_;
};

}  // namespace smartcache::binding
