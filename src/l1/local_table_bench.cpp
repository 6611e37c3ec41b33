#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "l1/local_table.h"

namespace smartcache {
namespace {

constexpr std::size_t kWeight = 400;

Tag HashOf(std::uint64_t number) { return (number + 1) * 0xD1B54A32D192ED03u; }

// Rendered at each use, as keys are: a list of them would add its own cache misses.
class Key {
 public:
  explicit Key(std::uint32_t number) {
    for (std::size_t place = kText.size() - 1; number != 0; number /= 10) {
      text_[--place] = static_cast<char>('0' + number % 10);
    }
  }
  operator std::string_view() const { return {text_.data(), text_.size()}; }  // NOLINT

 private:
  static constexpr std::string_view kText = "shop.views.product(id=000000)";
  std::array<char, kText.size()> text_ = [] {
    std::array<char, kText.size()> text{};
    std::copy(kText.begin(), kText.end(), text.begin());
    return text;
  }();
};

std::shared_ptr<LocalEntry> MakeEntry(std::uint32_t number) {
  auto entry = std::make_shared<LocalEntry>();
  entry->hash = HashOf(number);
  entry->key = Key(number);
  entry->weight = kWeight;
  return entry;
}

// Reference counts are atomic only where there have been threads, as there always are in service.
void HaveThreads() {
  std::thread([] {}).join();
}

// Hits on so many keys in random order, the deadline looked at as a reader does.
void BM_LocalTableHit(benchmark::State& state) {
  HaveThreads();
  const auto count = static_cast<std::uint32_t>(state.range(0));
  Stats stats;
  LocalTable table(256u << 20, stats);
  for (std::uint32_t i = 0; i < count; ++i) table.Insert(MakeEntry(i));
  std::minstd_rand random(1);
  for (auto _ : state) {
    const std::uint32_t number = random() % count;
    const LocalRef found = table.Find(HashOf(number), Key(number));
    benchmark::DoNotOptimize(found->hard_deadline);
  }
}
BENCHMARK(BM_LocalTableHit)->Arg(1)->Arg(1'000)->Arg(100'000);

// What of that is the benchmark's own.
void BM_LocalTableKeyAlone(benchmark::State& state) {
  std::minstd_rand random(1);
  for (auto _ : state) {
    const Key key(random() % 100'000);
    benchmark::DoNotOptimize(key);
  }
}
BENCHMARK(BM_LocalTableKeyAlone);

void BM_LocalTableHitTwoThreads(benchmark::State& state) {
  static Stats stats;
  static LocalTable table(256u << 20, stats);
  constexpr std::uint32_t kCount = 1'000;
  if (state.thread_index() == 0) {
    for (std::uint32_t i = 0; i < kCount; ++i) table.Insert(MakeEntry(i));
  }
  std::minstd_rand random(static_cast<unsigned>(state.thread_index()) + 1);
  for (auto _ : state) {
    const std::uint32_t number = random() % kCount;
    benchmark::DoNotOptimize(table.Find(HashOf(number), Key(number)));
  }
}
BENCHMARK(BM_LocalTableHitTwoThreads)->Threads(2);

void BM_LocalTableInsertEvicts(benchmark::State& state) {
  HaveThreads();
  Stats stats;
  constexpr std::uint32_t kHeld = 20'000;
  LocalTable table(kHeld * kWeight, stats);
  std::uint32_t number = 0;
  for (auto _ : state) {
    number = (number + 1) % (kHeld * 4);
    table.Insert(MakeEntry(number));
  }
}
BENCHMARK(BM_LocalTableInsertEvicts);

// 1,000,000 requests, zipf 1.0 over 100,000 keys, 1,000 entries of equal weight: see the counter.
void BM_LocalTableZipf(benchmark::State& state) {
  constexpr std::size_t kKeys = 100'000;
  constexpr std::size_t kRequests = 1'000'000;
  HaveThreads();
  std::vector<double> sums(kKeys);
  double sum = 0;
  for (std::size_t i = 0; i < kKeys; ++i) sums[i] = sum += 1.0 / static_cast<double>(i + 1);
  std::mt19937_64 random(20231023);
  std::uniform_real_distribution<double> uniform(0, sum);
  std::vector<std::uint32_t> requests(kRequests);
  for (auto& request : requests) {
    request = static_cast<std::uint32_t>(
        std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin());
  }
  std::size_t hits = 0;
  for (auto _ : state) {
    Stats stats;
    LocalTable table(1'000 * kWeight, stats);
    hits = 0;
    for (const std::uint32_t request : requests) {
      if (table.Find(HashOf(request), Key(request))) {
        ++hits;
      } else {
        table.Insert(MakeEntry(request));
      }
    }
  }
  state.counters["hit_ratio"] = static_cast<double>(hits) / kRequests;
  state.counters["ns_per_request"] = benchmark::Counter(
      kRequests, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_LocalTableZipf)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace smartcache
