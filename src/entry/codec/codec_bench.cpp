// 1,000 rows of 8 columns as a table of an ordinary application has them, and plain values. To
// compare with pickle: bench/ (through the binding).
#include <benchmark/benchmark.h>

#include "entry/codec/codec.h"

namespace smartcache::codec {
namespace {

constexpr std::size_t kRows = 1000;

struct Table {
  std::vector<std::int64_t> ids, created, country;
  std::vector<double> latitude;
  std::vector<std::uint8_t> active;
  std::vector<std::string> names_, prices_;
  std::vector<std::string_view> names, prices, kinds;
  Table() {
    std::uint64_t state = 1;
    for (std::size_t i = 0; i < kRows; ++i) {
      state = state * 6364136223846793005 + 1442695040888963407;
      const std::uint64_t random = state >> 33;
      ids.push_back(static_cast<std::int64_t>(5000 + i));
      created.push_back(1'700'000'000'000'000 + static_cast<std::int64_t>(random) * 1000);
      country.push_back(static_cast<std::int64_t>(random % 250));
      latitude.push_back(static_cast<double>(random % 9'000'000) / 1e5);
      active.push_back(random % 10 != 0);
      names_.push_back("Name of place " + std::to_string(random % 1'000'000));
      prices_.push_back(std::to_string(random % 1000) + "." + std::to_string(10 + random % 90));
      kinds.push_back(random % 3 == 0 ? "village" : random % 3 == 1 ? "town" : "city");
    }
    names.assign(names_.begin(), names_.end());
    prices.assign(prices_.begin(), prices_.end());
  }
};

std::string WriteTable(Writer& w, const Table& table) {
  RowsHeader header;
  header.label = {"atlas.Place"};
  header.alias = {"default"};
  for (const char* name :
       {"id", "created", "country_id", "latitude", "active", "name", "price", "kind"}) {
    header.fields.push_back({name});
  }
  header.count = kRows;
  w.Reset();
  w.WriteRows(header);
  w.WriteIntColumn(ColumnType::kInt, table.ids, {});
  w.WriteIntColumn(ColumnType::kDateTimeUtc, table.created, {});
  w.WriteIntColumn(ColumnType::kInt, table.country, {});
  w.WriteFloatColumn(table.latitude, {});
  w.WriteBoolColumn(table.active, {});
  w.WriteTextColumn(ColumnType::kText, table.names, {});
  w.WriteTextColumn(ColumnType::kDecimal, table.prices, {});
  w.WriteTextColumn(ColumnType::kText, table.kinds, {});
  return w.Take();
}

void BM_WriteRows(benchmark::State& state) {
  const Table table;
  Writer w;
  std::size_t bytes = 0;
  for (auto _ : state) bytes = WriteTable(w, table).size();
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kRows));
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BM_WriteRows);

void BM_ReadRows(benchmark::State& state) {
  const Table table;
  Writer w;
  const std::string payload = WriteTable(w, table);
  std::vector<std::uint8_t> nulls, bools;
  std::vector<std::int64_t> ints;
  std::vector<double> floats;
  Reader::Texts texts;
  for (auto _ : state) {
    Reader r(payload);
    r.ReadRows();
    for (int column = 0; column < 8; ++column) {
      switch (r.ReadColumn(nulls)) {
        case ColumnType::kFloat:
          r.ReadFloats(floats);
          break;
        case ColumnType::kBool:
          r.ReadBools(bools);
          break;
        case ColumnType::kInt:
        case ColumnType::kDateTimeUtc:
          r.ReadInts(ints);
          break;
        default:
          r.ReadTexts(texts);
      }
    }
    if (r.Next() != Type::kEnd) state.SkipWithError("not read");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kRows));
}
BENCHMARK(BM_ReadRows);

// {"id": .., "name": .., "tags": [..]} and the like, about 200 bytes in Python's repr.
std::string WriteDict(Writer& w) {
  w.Reset();
  w.WriteDict(8);
  for (const char* key : {"id", "name", "email", "city", "score", "active", "kind"}) {
    w.WriteText(key);
    w.WriteText(key[0] == 'e' ? "somebody@example.org" : "a value of some length");
  }
  w.WriteText("numbers");
  w.WriteList(4);
  for (int i = 0; i < 4; ++i) w.WriteInt(i * 1000);
  return w.Take();
}

void BM_WriteDict(benchmark::State& state) {
  Writer w;
  for (auto _ : state) benchmark::DoNotOptimize(WriteDict(w));
}
BENCHMARK(BM_WriteDict);

void BM_ReadDict(benchmark::State& state) {
  Writer w;
  const std::string payload = WriteDict(w);
  for (auto _ : state) {
    Reader r(payload);
    std::size_t pairs = r.ReadCount();
    while (pairs-- > 0) {
      benchmark::DoNotOptimize(r.ReadText());
      if (r.Next() == Type::kText) {
        benchmark::DoNotOptimize(r.ReadText());
      } else {
        for (std::size_t n = r.ReadCount(); n-- > 0;) benchmark::DoNotOptimize(r.ReadInt());
      }
    }
    if (r.Next() != Type::kEnd) state.SkipWithError("not read");
  }
}
BENCHMARK(BM_ReadDict);

}  // namespace
}  // namespace smartcache::codec
