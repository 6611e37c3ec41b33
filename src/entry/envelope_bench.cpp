#include <benchmark/benchmark.h>

#include "smartcache/entry.h"

namespace smartcache {
namespace {

constexpr std::string_view kKey = "atlas.views.city(pk=123456)";

EntryHeader HeaderWithTags(std::size_t tags) {
  EntryHeader header;
  header.epoch = 1;
  header.hard_ttl = header.soft_ttl = std::chrono::seconds(300);
  header.cost = std::chrono::milliseconds(3);
  header.tags.assign(tags, {1, 2});
  return header;
}

// Arguments: bytes of the payload, tags.
template <class Key>
void BM_Encode(benchmark::State& state) {
  const Key secret(Secret{1});
  const EntryHeader header = HeaderWithTags(static_cast<std::size_t>(state.range(1)));
  const std::string payload(static_cast<std::size_t>(state.range(0)), 'p');
  for (auto _ : state) benchmark::DoNotOptimize(EncodeEntry(secret, kKey, header, payload));
}
BENCHMARK_TEMPLATE(BM_Encode, EntryKey)->Args({200, 2})->Args({10'000, 6});
BENCHMARK_TEMPLATE(BM_Encode, Secret)->Args({200, 2});

template <class Key>
void BM_Decode(benchmark::State& state) {
  const Key secret(Secret{1});
  const EntryHeader header = HeaderWithTags(static_cast<std::size_t>(state.range(1)));
  const std::string payload(static_cast<std::size_t>(state.range(0)), 'p');
  const std::string envelope = EncodeEntry(secret, kKey, header, payload);
  for (auto _ : state) benchmark::DoNotOptimize(DecodeEntry(secret, kKey, envelope));
}
BENCHMARK_TEMPLATE(BM_Decode, EntryKey)->Args({200, 2})->Args({10'000, 6});
BENCHMARK_TEMPLATE(BM_Decode, Secret)->Args({200, 2});

}  // namespace
}  // namespace smartcache
