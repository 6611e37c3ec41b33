#include "tags/freshness.h"

#include <benchmark/benchmark.h>

#include <vector>

namespace smartcache {
namespace {

void BM_Judge(benchmark::State& state) {
  Slots slots;
  std::vector<SlotToken> tags;
  for (Tag tag = 1; tag <= static_cast<Tag>(state.range(0)); ++tag) {
    const SlotRef slot = slots.Acquire(tag);
    slots.Install(tag, *slot, slot->version(), 1, 1, kNever);
    tags.push_back({slot, {tag, 1}});
  }
  for (auto _ : state) benchmark::DoNotOptimize(Judge(tags, 1, Instant(1), kNever));
}
BENCHMARK(BM_Judge)->Arg(1)->Arg(6)->Arg(100);

}  // namespace
}  // namespace smartcache
