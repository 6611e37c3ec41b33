#include "tags/slots.h"

#include <benchmark/benchmark.h>

#include <vector>

namespace smartcache {
namespace {

void BM_SlotsAcquire(benchmark::State& state) {
  Slots slots;
  std::vector<SlotRef> held;
  for (Tag tag = 0; tag < 10'000; ++tag) held.push_back(slots.Acquire(tag));
  Tag tag = 0;
  for (auto _ : state) benchmark::DoNotOptimize(slots.Acquire(tag++ % 10'000));
}
BENCHMARK(BM_SlotsAcquire);

// What a message costs the listener for each tag that this process knows.
void BM_SlotsDrop(benchmark::State& state) {
  Slots slots;
  std::vector<SlotRef> held;
  for (Tag tag = 0; tag < 10'000; ++tag) held.push_back(slots.Acquire(tag));
  Tag tag = 0;
  for (auto _ : state) slots.Drop(tag++ % 10'000);
}
BENCHMARK(BM_SlotsDrop);

}  // namespace
}  // namespace smartcache
