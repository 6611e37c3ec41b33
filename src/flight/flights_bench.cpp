#include "flight/flights.h"

#include <benchmark/benchmark.h>

namespace smartcache {
namespace {

// What a miss pays to lead.
void BM_FlightLed(benchmark::State& state) {
  Flights flights;
  Tag hash = 0;
  for (auto _ : state) {
    const auto joined = flights.Join(++hash, "shop.views.product(id=123456)", 1);
    flights.End(joined.flight, FlightEnd::kShared);
  }
}
BENCHMARK(BM_FlightLed);

// What the leader pays for each subscriber.
void BM_FlightSubscribed(benchmark::State& state) {
  Flights flights;
  int calls = 0;
  for (auto _ : state) {
    const auto joined = flights.Join(1, "k", 1);
    for (int i = 0; i < 50; ++i) joined.flight->Subscribe([&calls] { ++calls; });
    flights.End(joined.flight, FlightEnd::kShared);
  }
  benchmark::DoNotOptimize(calls);
}
BENCHMARK(BM_FlightSubscribed);

}  // namespace
}  // namespace smartcache
