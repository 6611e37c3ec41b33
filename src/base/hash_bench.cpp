#include <benchmark/benchmark.h>

#include <string>

#include "base/hash.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/sha256_blocks.h"

namespace smartcache {
namespace {

void BM_Hash64(benchmark::State& state) {
  const std::string bytes(static_cast<std::size_t>(state.range(0)), 'k');
  for (auto _ : state) benchmark::DoNotOptimize(Hash64(bytes));
}
BENCHMARK(BM_Hash64)->Arg(8)->Arg(24)->Arg(60)->Arg(200);

void BM_RandomU64(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(RandomU64());
}
BENCHMARK(BM_RandomU64);

using Blocks = void (*)(Sha256State&, const std::uint8_t*, std::size_t);
void BM_Sha256Blocks(benchmark::State& state, Blocks blocks) {
  const std::string bytes(4096, 'x');
  Sha256State hash{};
  for (auto _ : state) {
    blocks(hash, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size() / 64);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes.size()));
}
BENCHMARK_CAPTURE(BM_Sha256Blocks, Chosen, Sha256Blocks);
BENCHMARK_CAPTURE(BM_Sha256Blocks, Portable, Sha256BlocksPortable);

}  // namespace
}  // namespace smartcache
