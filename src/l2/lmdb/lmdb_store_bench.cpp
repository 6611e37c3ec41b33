// The paths of the embedded store on a machine's real clock, over 100,000 entries of 300 bytes.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "smartcache/cache.h"

namespace smartcache {
namespace {

constexpr std::size_t kEntries = 100'000;
constexpr std::size_t kEnvelopeBytes = 300;

std::string KeyOf(std::size_t i) { return "places.city:" + std::to_string(i); }

// One store for all benchmarks, filled once, removed at the end.
struct Bench {
  Bench() {
    std::string name = std::filesystem::temp_directory_path() / "smartcache-bench-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    options.directory = std::filesystem::canonical(name);
    store = OpenLmdbStore(options);
    for (std::size_t i = 0; i < kEntries; ++i) {
      (void)store->Put(KeyOf(i), std::string(kEnvelopeBytes, 'x'), std::chrono::hours(1),
                       PutCondition::kAlways);
    }
    std::vector<Tag> tags;
    for (Tag tag = 0; tag < kEntries; ++tag) tags.push_back(tag * 0x9E3779B97F4A7C15u);
    (void)store->Mint(tags, {});
  }
  ~Bench() {
    store.reset();
    std::filesystem::remove_all(options.directory);
  }
  Options options;
  std::unique_ptr<Store> store;
};

Store& TheStore() {
  static Bench bench;
  return *bench.store;
}

void Hit(benchmark::State& state) {
  Store& store = TheStore();
  const auto spread = static_cast<std::size_t>(state.range(0));
  for (std::size_t i = 0; auto _ : state) {
    const std::string key = KeyOf(i * 7919 % spread);
    const Tag tags[] = {(i * 31 % spread) * 0x9E3779B97F4A7C15u,
                        (i * 37 % spread) * 0x9E3779B97F4A7C15u};
    benchmark::DoNotOptimize(store.Get(key, tags));
    ++i;
  }
}
BENCHMARK(Hit)->Arg(1)->Arg(kEntries)->Name("Hit, 2 tags, of so many keys");
BENCHMARK(Hit)->Arg(kEntries)->Threads(2)->Name("Hit, 2 threads");

void Counter(benchmark::State& state) {
  Store& store = TheStore();
  (void)store.Tokens({});
  for (auto _ : state) benchmark::DoNotOptimize(store.ChangeCounter());
}
BENCHMARK(Counter)->Name("ChangeCounter");

void Bump(benchmark::State& state) {
  Store& store = TheStore();
  const Tag tags[] = {1, 2, 3};
  for (auto _ : state) {
    state.PauseTiming();
    (void)store.Mint(tags, {});
    state.ResumeTiming();
    benchmark::DoNotOptimize(store.Bump(tags, {}));
  }
}
BENCHMARK(Bump)->Name("Bump, 3 tags");

void Put(benchmark::State& state) {
  Store& store = TheStore();
  const std::string envelope(static_cast<std::size_t>(state.range(0)), 'y');
  for (std::size_t i = 0; auto _ : state) {
    benchmark::DoNotOptimize(store.Put(KeyOf(i++ * 7919 % kEntries), envelope,
                                       std::chrono::hours(1), PutCondition::kAlways));
  }
}
BENCHMARK(Put)->Arg(kEnvelopeBytes)->Arg(100'000)->Name("Put, bytes");

void Miss(benchmark::State& state) {
  Store& store = TheStore();
  const std::string envelope(kEnvelopeBytes, 'z');
  const Duration lease = std::chrono::seconds(5);
  for (auto _ : state) {
    const std::string key = KeyOf(RandomU64() % kEntries);
    const auto begun = store.Begin(key, 42, lease);
    benchmark::DoNotOptimize(
        store.Fill({key, envelope, std::chrono::hours(1), begun->key_token.token, 42}));
  }
}
BENCHMARK(Miss)->Name("Begin and Fill");

}  // namespace
}  // namespace smartcache
