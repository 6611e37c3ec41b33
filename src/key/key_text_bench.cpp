#include <benchmark/benchmark.h>

#include "key/key_text.h"

namespace smartcache {
namespace {

void BM_AppendInt(benchmark::State& state) {
  std::string key;
  for (auto _ : state) {
    key.clear();
    AppendInt(key, 123456);
    benchmark::DoNotOptimize(key.data());
  }
}
BENCHMARK(BM_AppendInt);

void BM_AppendText(benchmark::State& state, std::string_view text) {
  std::string key;
  for (auto _ : state) {
    key.clear();
    AppendText(key, text);
    benchmark::DoNotOptimize(key.data());
  }
}
BENCHMARK_CAPTURE(BM_AppendText, Name, "country_id");
BENCHMARK_CAPTURE(BM_AppendText, Quoted, "somebody@example.org: 5");

void BM_AppendFloat(benchmark::State& state) {
  std::string key;
  for (auto _ : state) {
    key.clear();
    AppendFloat(key, 52.52437);
    benchmark::DoNotOptimize(key.data());
  }
}
BENCHMARK(BM_AppendFloat);

}  // namespace
}  // namespace smartcache
